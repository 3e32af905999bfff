"""What is read of a file of boxes is understood whole or named: nothing is lost or changed in silence."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cdtr.config import DataConfig, load_config
from cdtr.data.datasets import load_source
from cdtr.data.opening import open_data
from cdtr.errors import AnnotationError, DataError
from cdtr.image_files.written import mark_written
from cdtr.records import DataSource

SIZE = (40, 30)
Boxes = dict[str, list[list[float]] | None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two splits whose images have the same names and differ in their pixels."""
    root = tmp_path / "data"
    for shade, name in enumerate(f"{split}/{kind}/1.png" for split in ("train", "val") for kind in ("dent", "scratch")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", SIZE, 50 * shade).save(root / name)
    return root


def _coco(path: Path, entries: list[dict[str, Any]], **more: Any) -> Path:
    names = {entry.pop("image", "val/dent/1.png"): None for entry in [dict(entry) for entry in entries]}
    ids = {name: number for number, name in enumerate(names, start=1)}
    annotations = [
        {"image_id": ids[entry.pop("image", "val/dent/1.png")], "category_id": 1, "bbox": [1, 2, 3, 4], **entry}
        for entry in [dict(entry) for entry in entries]
    ]
    images = [{"id": number, "file_name": name} for name, number in ids.items()]
    categories = [{"id": 1, "name": "dent"}, {"id": 2, "name": "scratch"}]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories, **more}), encoding="utf-8"
    )
    return path


def _boxes(source: DataSource) -> Boxes:
    """The corners of every image, "fault" in place of those that cannot be used, without images that have none."""
    found: Boxes = {}
    for sample in (sample for samples in source.splits.values() for sample in samples):
        annotation = source.annotate(sample)
        if annotation is not None:
            found[sample.image_id] = annotation.boxes_xyxy.round(6).tolist()
    return found


def _line(source: DataSource) -> str:
    return source.accounts[-1].line()


def _open(root: Path, boxes: Path, split: str | None = None) -> DataSource:
    return open_data(root, DataConfig(boxes=str(boxes)), lambda _line: None, split)


# --- names


@pytest.mark.parametrize("format", ["coco", "csv"])
def test_names_of_two_splits_are_of_the_split_that_is_named(root: Path, tmp_path: Path, format: str) -> None:
    if format == "coco":
        file = _coco(tmp_path / "mine.json", [{"image": "dent/1.png"}])
    else:
        (file := tmp_path / "mine.csv").write_text("image,x,y,width,height\ndent/1.png,1,2,3,4\n")
    said = r"may be train/dent/1\.png or val/dent/1\.png: say which split .*`split=val` `boxes=FILE`"
    with pytest.raises(DataError, match=said):
        _boxes(_open(root, file))
    assert _boxes(_open(root, file, "val")) == {"val/dent/1.png": [[1, 2, 4, 6]]}
    (root / "val").rename(root / "valid")
    with pytest.raises(DataError, match=r"valid/dent/1\.png: say which split .*`split=SPLIT` `boxes=FILE`"):
        _boxes(_open(root, file))
    assert _boxes(_open(root, file, "train")) == {"train/dent/1.png": [[1, 2, 4, 6]]}
    assert _boxes(_open(root, file, "held-out")) == {"train/dent/1.png": [[1, 2, 4, 6]]}


def test_whole_names_are_not_changed_by_the_split(root: Path, tmp_path: Path) -> None:
    file = _coco(tmp_path / "mine.json", [{"image": "train/dent/1.png"}])
    assert _boxes(_open(root, file, "val")) == {"train/dent/1.png": [[1, 2, 4, 6]]}


def test_absolute_names_below_the_root_are_its_images(root: Path, tmp_path: Path) -> None:
    file = _coco(tmp_path / "mine.json", [{"image": str(root / "val" / "dent" / "1.png")}])
    assert _boxes(_open(root, file)) == {"val/dent/1.png": [[1, 2, 4, 6]]}


@pytest.mark.parametrize("name", ["val/dent/1.PNG", "val/dent/1.jpg", "val\\Dent\\1.png"])
def test_names_that_differ_in_case_or_suffix_are_found(root: Path, tmp_path: Path, name: str) -> None:
    assert list(_boxes(_open(root, _coco(tmp_path / "mine.json", [{"image": name}])))) == ["val/dent/1.png"]


def _export(root: Path, folder: Path, split: str, copy: bool) -> Path:
    """Labels of DATA/val for trainers, in a folder ``split``, with the images beside them."""
    for kind in ("dent", "scratch"):
        image, labels = folder / "images" / split / kind / "1.png", folder / "labels" / split / kind / "1.txt"
        for path in (image, labels):
            path.parent.mkdir(parents=True)
        source = root / "val" / kind / "1.png"
        if copy:
            shutil.copy(source, image)
        else:
            image.symlink_to(os.path.relpath(source, image.parent))
        labels.write_text(f"{int(kind == 'scratch')} 0.5 0.5 0.5 0.2\n")
    (folder / "data.yaml").write_text(f"train: images/{split}\nval: images/{split}\nnames: {{0: dent, 1: scratch}}\n")
    return folder


@pytest.mark.parametrize("copy", [False, True], ids=["links", "copies"])
@pytest.mark.parametrize("below", ["", "labels/train"])
def test_labels_for_trainers_are_of_the_images_beside_them(root: Path, tmp_path: Path, copy: bool, below: str) -> None:
    """The folder ``train`` of an export is no split of the data."""
    folder = _export(root, tmp_path / "yolo", "train", copy)
    expected = {f"val/{kind}/1.png": [[10, 12, 30, 18]] for kind in ("dent", "scratch")}
    assert _boxes(_open(root, folder / below)) == expected
    assert _boxes(_open(root, folder / below, "train")) == expected, "the image says it, whatever the split"


def test_labels_of_other_images_are_named(root: Path, tmp_path: Path) -> None:
    folder = _export(root, tmp_path / "yolo", "train", copy=True)
    Image.new("L", SIZE, 7).save(folder / "images" / "train" / "dent" / "1.png")
    source = _open(root, folder)
    with pytest.warns(UserWarning, match=r"1 label files of images that the data lack .*dent/1\.txt"):
        assert list(_boxes(source)) == ["val/scratch/1.png"]


def test_names_csv_says_what_dead_links_cannot(root: Path, tmp_path: Path) -> None:
    folder = _export(root, tmp_path / "yolo", "train", copy=False)
    shutil.rmtree(folder / "images")
    rows = [f"{kind}/1.png,images/train/{kind}/1.png\n" for kind in ("dent", "scratch")]
    (folder / "names.csv").write_text("image,file\n" + "".join(rows))
    assert list(_boxes(_open(root, folder, "val"))) == ["val/dent/1.png", "val/scratch/1.png"]
    with pytest.raises(DataError, match="`split=val`"):
        _boxes(_open(root, folder))


def test_names_csv_is_read_as_it_is_written(root: Path, tmp_path: Path) -> None:
    """A name that a spreadsheet would run has an apostrophe in front there."""
    Image.new("L", SIZE, 9).save(root / "val" / "dent" / "=1.png")
    folder = _export(root, tmp_path / "yolo", "train", copy=False)
    shutil.rmtree(folder / "images")
    (folder / "labels" / "train" / "dent" / "1.txt").rename(folder / "labels" / "train" / "renamed.txt")
    (folder / "names.csv").write_text("image,file\n'=1.png,images/train/renamed.png\n")
    assert "val/dent/=1.png" in _boxes(_open(root, folder, "val"))


# --- what our own commands wrote


def test_results_below_the_data_are_neither_truth_nor_a_class(root: Path) -> None:
    out = root / "boxes"
    (out / "overlays").mkdir(parents=True)
    Image.new("L", SIZE).save(out / "overlays" / "1.png.jpg")
    _coco(out / "coco.json", [{"score": 0.5}])
    _export(root, out / "yolo", "train", copy=False)
    mark_written(out, ["coco.json", "overlays"])
    mark_written(out, ["yolo"])
    for data in (root, root / "val"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            source = load_source(data)
        assert not source.annotated
        assert source.class_names == ("dent", "scratch")
    with pytest.warns(UserWarning, match="file of boxes that `cdtr localize` wrote: measured is how far it agrees"):
        assert _boxes(_open(root, out / "yolo"))


@pytest.mark.parametrize("format", ["coco", "csv"])
def test_boxes_with_scores_are_no_truth_unless_they_are_named(root: Path, format: str) -> None:
    if format == "coco":
        file = _coco(root / "coco.json", [{"score": 0.5}])
    else:
        (file := root / "boxes.csv").write_text("image,score,x,y,width,height\nval/dent/1.png,0.5,1,2,3,4\n")
    with pytest.raises(DataError, match=r"has a score, so .* holds boxes that a program found: move it out of"):
        _boxes(load_source(root))
    with pytest.warns(UserWarning, match="1 boxes with a score, so a program found them"):
        assert _boxes(_open(root, file)) == {"val/dent/1.png": [[1, 2, 4, 6]]}
    file.write_text(file.read_text().replace("0.5", "1.0"))  # as reviewed boxes have
    assert _boxes(load_source(root)) == {"val/dent/1.png": [[1, 2, 4, 6]]}


# --- sizes and edges


@pytest.mark.parametrize("format", ["coco", "csv", "voc"])
def test_boxes_of_another_size_are_scaled_and_told(root: Path, format: str) -> None:
    if format == "coco":
        file = _coco(root / "annotations.json", [{"bbox": [2, 3, 4, 6]}])
        tree = json.loads(file.read_text())
        tree["images"][0] |= {"width": 80, "height": 60}
        file.write_text(json.dumps(tree))
    elif format == "csv":
        header = "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        (root / "boxes.csv").write_text(header + "val/dent/1.png,80,60,dent,2,3,6,9\n")
    else:
        corners = "<xmin>3</xmin><ymin>4</ymin><xmax>6</xmax><ymax>9</ymax>"
        (root / "val" / "dent" / "1.xml").write_text(
            "<annotation><size><width>80</width><height>60</height></size><object><name>dent</name>"
            f"<bndbox>{corners}</bndbox></object></annotation>"
        )
    source = load_source(root)
    assert _boxes(source) == {"val/dent/1.png": [[1, 1.5, 3, 4.5]]}
    assert "1 images with boxes scaled from the size that their file says (such as val/dent/1.png)" in _line(source)


def test_a_size_of_other_proportions_costs_its_image(root: Path) -> None:
    file = _coco(root / "annotations.json", [{}, {"image": "val/scratch/1.png", "category_id": 2}])
    tree = json.loads(file.read_text())
    tree["images"][0] |= {"width": 30, "height": 40}
    file.write_text(json.dumps(tree))
    with pytest.warns(UserWarning, match=r"says 30 x 40 pixels, the image has 40 x 30, so it was drawn .* EXIF"):
        assert _boxes(_open(root, file)) == {"val/scratch/1.png": [[1, 2, 4, 6]]}


def test_what_reaches_over_the_edge_is_clipped_and_told(root: Path) -> None:
    _coco(root / "annotations.json", [{"bbox": [-1, -0.5, 42, 10]}])
    source = load_source(root)
    (sample,) = (sample for sample in source.splits["val"] if sample.label == 0)
    annotation = source.annotate(sample)
    assert annotation is not None
    assert annotation.boxes_xyxy.tolist() == [[0, 0, 40, 9.5]]
    assert annotation.written_xyxy is not None
    assert annotation.written_xyxy.tolist() == [[-1, -0.5, 41, 9.5]], (
        "the file's corners, for those who look for faults"
    )
    assert "1 boxes clipped to their image" in _line(source)
    _coco(root / "annotations.json", [{"bbox": [50, 2, 3, 4]}])
    with pytest.raises(AnnotationError, match=r"box 50, 2, 53, 6 covers nothing of its image of 40 x 30"):
        load_source(root).annotate(sample)


@pytest.mark.parametrize("name", ["annotations.json", "boxes.csv", "localization.txt"])
def test_shares_are_no_pixels(root: Path, name: str) -> None:
    _coco(root / "annotations.json", [{"bbox": [0.1, 0.2, 0.3, 0.4]}])
    texts = {
        "boxes.csv": "image,xmin,ymin,xmax,ymax\nval/dent/1.png,0.1,0.2,0.3,1\n",
        "localization.txt": "val/dent/1.png,0.1,0.2,0.3,1\n",
    }
    if name in texts:
        (root / "annotations.json").unlink()
        (root / name).write_text(texts[name])
    with pytest.raises(DataError, match="all corners lie between 0 and 1"):
        _boxes(load_source(root))


def test_some_boxes_below_a_pixel_are_told(root: Path) -> None:
    _coco(root / "annotations.json", [{"bbox": [0.1, 0.2, 0.3, 0.4]}, {"bbox": [1, 2, 9, 9]}])
    with pytest.warns(UserWarning, match="1 boxes of less than a pixel, in which shares may stand for pixels"):
        _boxes(load_source(root))


# --- classes


def test_a_class_that_is_spelt_otherwise_is_named_with_the_nearest(root: Path) -> None:
    categories = [{"id": 1, "name": "dents"}, {"id": 2, "name": "SCRATCH "}]
    _coco(root / "annotations.json", [{}, {"image": "val/scratch/1.png", "category_id": 2}], categories=categories)
    with pytest.warns(
        UserWarning, match=r"1 boxes of 'dents', which is none of the classes dent, scratch, did you mean 'dent'"
    ):
        assert _boxes(load_source(root)) == {"val/dent/1.png": [], "val/scratch/1.png": [[1, 2, 4, 6]]}


@pytest.mark.parametrize(
    "names", [("yes", "no"), ("on", "off"), ("01", "010"), ("null", "~"), ("1.0", "1.50"), ("0x1F", "1e3")]
)
def test_class_names_are_text_whatever_yaml_makes_of_them(tmp_path: Path, names: tuple[str, str]) -> None:
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        Image.new("L", SIZE).save(tmp_path / name / f"{number}.png")
        (tmp_path / name / f"{number}.txt").write_text(f"{number} 0.5 0.5 0.5 0.2\n")
    for text in (f"names: [{names[0]}, {names[1]}]\n", f"names:\n  0: {names[0]}\n  1: {names[1]}\n"):
        (tmp_path / "data.yaml").write_text(text)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert [len(found or []) for found in _boxes(load_source(tmp_path)).values()] == [1, 1]
    config = load_config(None, [f"data.unboxed_classes=[{names[0]}]"])
    assert config.data.unboxed_classes == (names[0],)
    (tmp_path / "own.yaml").write_text(f"data:\n  unboxed_classes: [{names[1]}]\n  holdout: 0.2\n")
    assert load_config(tmp_path / "own.yaml").data.unboxed_classes == (names[1],)


def test_one_class_that_is_none_of_the_datas_counts_and_is_told(root: Path) -> None:
    file = _coco(root / "annotations.json", [{}], categories=[{"id": 1, "name": "object"}])
    source = load_source(root)
    assert _boxes(source) == {"val/dent/1.png": [[1, 2, 4, 6]]}
    assert "1 boxes of 'object', no class of the data, which count for every image" in _line(source)
    file.write_text(file.read_text().replace('"object"', '"dents"'))
    with pytest.warns(UserWarning, match="1 boxes of 'dents', no class of the data, .* did you mean 'dent'"):
        _boxes(load_source(root))


# --- damage


def test_an_image_that_a_file_lists_twice_is_a_fault(root: Path) -> None:
    _coco(root / "annotations.json", [{"image": "val/dent/1.png"}, {"image": "VAL/dent/1.png"}])
    with pytest.raises(AnnotationError, match=r"has val/dent/1\.png twice: keep one of them"):
        _boxes(load_source(root))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param({"bbox": None}, "bbox is None", id="null"),
        pytest.param({"bbox": []}, "expected the numbers", id="empty"),
        pytest.param({"bbox": [1, 2, float("nan"), 4]}, "finite", id="nan"),
        pytest.param({"category_id": 9}, "category_id 9 is none of its categories", id="class"),
        pytest.param({"attributes": {"rotation": 30.5}}, "turned by 30.5 degrees", id="turned"),
    ],
)
def test_one_damaged_annotation_costs_one_images_boxes(root: Path, damage: dict[str, Any], message: str) -> None:
    file = _coco(root / "annotations.json", [damage, {"image": "val/scratch/1.png", "category_id": 2}])
    source = _open(root, file)
    with pytest.warns(UserWarning, match=f"boxes left out: .*{message}"):
        found = _boxes(source)
    assert found == {"val/scratch/1.png": [[1, 2, 4, 6]]}
    assert "1 images whose boxes cannot be used (such as val/dent/1.png)" in _line(source)
    with pytest.raises(AnnotationError, match=message):
        _boxes(load_source(root))


def test_a_box_is_that_of_its_polygons_where_it_has_none(root: Path) -> None:
    outline = [[5, 6, 9, 6, 7, 12], [20, 8, 21, 8, 21, 9]]
    _coco(root / "annotations.json", [{"bbox": [], "segmentation": outline}])
    assert _boxes(load_source(root)) == {"val/dent/1.png": [[5, 6, 21, 12]]}


def test_annotations_of_images_that_were_removed_are_named(root: Path) -> None:
    file = _coco(root / "annotations.json", [{}])
    tree = json.loads(file.read_text())
    tree["annotations"].append({"image_id": 77, "category_id": 1, "bbox": [1, 2, 3, 4]})
    file.write_text(json.dumps(tree))
    with pytest.warns(UserWarning, match="1 annotations of no image of the file"):
        assert _boxes(load_source(root)) == {"val/dent/1.png": [[1, 2, 4, 6]]}


@pytest.mark.parametrize(("image", "annotation"), [(1.0, 1), ("1", 1), (1, "1"), (1, 1.0)])
def test_numbers_are_ids_however_they_are_written(root: Path, image: Any, annotation: Any) -> None:
    file = _coco(root / "annotations.json", [{}])
    tree = json.loads(file.read_text())
    tree["images"][0]["id"], tree["annotations"][0]["image_id"] = image, annotation
    tree["categories"][0]["id"], tree["annotations"][0]["category_id"] = annotation, image
    file.write_text(json.dumps(tree))
    assert _boxes(load_source(root)) == {"val/dent/1.png": [[1, 2, 4, 6]]}


@pytest.mark.parametrize("row", ["val/dent/1.png,dent", "val/dent/1.png,dent,1,2,112,11,14", "val/dent/1.png"])
def test_csv_rows_of_another_length_cost_their_image(root: Path, row: str) -> None:
    """A row cut short is no image without an object, one with a field too many no box."""
    header = "image,label,x_min,y_min,x_max,y_max\n"
    (root / "boxes.csv").write_text(f"{header}{row}\nval/scratch/1.png,scratch,1,2,3,4\n")
    source = load_source(root)
    samples = {sample.image_id: sample for sample in source.splits["val"]}
    assert source.annotate(samples["val/scratch/1.png"]) is not None
    with pytest.raises(AnnotationError, match=r"row 1 of image 'val/dent/1\.png' has another number of fields"):
        source.annotate(samples["val/dent/1.png"])


@pytest.mark.parametrize("columns", ["image,label,x_min,y_min,x_max,y_max", "x_min,y_min,x_max,y_max,image,label"])
def test_an_open_quote_does_not_swallow_the_other_rows_of_a_csv(root: Path, columns: str) -> None:
    values = {"x_min": "1", "y_min": "2", "x_max": "3", "y_max": "4"}
    rows = [
        ",".join(
            (values | {"image": f"val/{kind}/1.png", "label": f"{quote}{kind}"})[name] for name in columns.split(",")
        )
        for kind, quote in (("dent", '"'), ("scratch", ""))
    ]
    (root / "boxes.csv").write_text("\n".join([columns, *rows, ""]))
    with pytest.raises(DataError, match=r"boxes\.csv cannot be read as CSV"):
        _boxes(load_source(root))


def test_pose_labels_are_read_by_their_shape(root: Path) -> None:
    labels = root / "val" / "dent" / "1.txt"
    labels.write_text("0 0.5 0.5 0.5 0.2 0.1 0.1 0.9 0.9\n")
    (root / "data.yaml").write_text("names: [dent, scratch]\nkpt_shape: [2, 2]\n")
    assert _boxes(load_source(root)) == {"val/dent/1.png": [[10, 12, 30, 18]]}
    labels.write_text("0 0.5 0.5 0.5 0.2 0.1 0.1\n")
    with pytest.raises(AnnotationError, match="expected a class number and cx, cy, width, height, or 4 numbers of key"):
        _boxes(load_source(root))
    (root / "data.yaml").write_text("names: [dent, scratch]\n")
    labels.write_text("0 0.5 0.5 0.5 0.2 0.1 0.1 2 0.9 0.9 2\n")  # whether they are visible is no share
    with pytest.raises(AnnotationError, match="in shares of the image"):
        _boxes(load_source(root))


def test_label_files_of_no_image_are_named(root: Path) -> None:
    for name in ("val/dent/1.txt", "val/dent/77.txt"):
        (root / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "labels" / name).write_text("0 0.5 0.5 0.5 0.2\n")
    (root / "labels" / "classes.txt").write_text("dent\nscratch\n")
    with pytest.warns(UserWarning, match=r"1 \.txt files of no image \(such as labels/val/dent/77\.txt\)"):
        assert list(_boxes(load_source(root))) == ["val/dent/1.png"]


def test_a_file_of_one_image_is_told_from_its_folder(root: Path) -> None:
    (root / "val" / "dent" / "1.xml").write_text("<annotation/>")
    with pytest.raises(DataError, match=r"1\.xml is of one image: give the folder of such files, .*dent"):
        _open(root, root / "val" / "dent" / "1.xml")
