"""Each format, read back by a library of the tool that it is for."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import globox
import numpy as np
import pytest
import supervision as sv
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from cdtr.corrections import read_written
from cdtr.errors import ConfigError, DataError
from cdtr.formats import Target, can_be_written, find_exporter, format_names
from cdtr.formats._stems import Stems
from cdtr.formats._voc_labels import voc_colour
from cdtr.records import Localization

CLASSES = ("größe & <3>", "Black footed, Albatross", "100%")
NAMES = (
    "a.jpg",
    "a.png",
    "day 1/a.jpg",
    "day 2/a.jpg",
    "deep/er/and/deeper/100%.jpg",
    "dot.ted.name.jpg",
    "Ünï 图 <&\"'>/é #1;.jpg",
    "none.jpg",
)
VOC_CORNERS = ("xmin", "ymin", "xmax", "ymax")
Boxes = dict[str, list[tuple[str, list[float]]]]


def localization(image_id: str, boxes: list[list[float]], labels: list[int], size_hw: tuple[int, int]) -> Localization:
    masks = np.zeros((len(boxes), *size_hw), dtype=np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, np.round(boxes).astype(int).reshape(-1, 4), strict=True):
        mask[y0:y1, x0:x1] = 1
    return Localization(
        image_id=image_id,
        size_hw=size_hw,
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.array(labels, dtype=np.int64),
        scores=np.linspace(0.9, 0.5, len(labels), dtype=np.float32),
        map=np.zeros((0, 0), dtype=np.float32),
        map_label=0,
        class_probs=np.zeros(0, dtype=np.float32),
        masks=masks,
    )


def some() -> list[Localization]:
    """Boxes that do not overlap, one image without any, all sizes different."""
    found = []
    for number, name in enumerate(NAMES):
        boxes = [[1.0 + number, 2, 30, 21], [32, 5.5 + number, 59.25, 40]][: 1 + number % 2]
        boxes = [] if name == "none.jpg" else boxes
        found.append(localization(name, boxes, [number % 3, 2][: len(boxes)], (50 + number, 60 + number)))
    return found


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos & co")
    for one in some():
        path = root / one.image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", one.size_hw[::-1]).save(path)
    return root


def write(name: str, path: Path, root: Path | None = None) -> Path:
    find_exporter(name).write(iter(some()), path, CLASSES, root)
    return path


def expected() -> Boxes:
    return {
        one.image_id: [(CLASSES[label], box.tolist()) for box, label in zip(one.boxes_xyxy, one.labels, strict=True)]
        for one in some()
    }


def check(found: Boxes, within: float = 0.5) -> None:
    known = expected()
    assert found.keys() == known.keys()
    for name, boxes in known.items():
        assert [label for label, _ in found[name]] == [label for label, _ in boxes]
        for (_, theirs), (_, ours) in zip(found[name], boxes, strict=True):
            np.testing.assert_allclose(theirs, ours, atol=within, rtol=0)


def of_detections(data: sv.DetectionDataset, detections: sv.Detections) -> list[tuple[str, list[float]]]:
    numbers = detections.class_id
    assert numbers is not None
    return [(data.classes[number], box.tolist()) for number, box in zip(numbers, detections.xyxy, strict=True)]


def by_folder(root: Path, load: Callable[[Path], sv.DetectionDataset]) -> Boxes:
    """The library reads a folder without those in it."""
    found: Boxes = {}
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        if any(path.is_file() for path in folder.iterdir()):
            data = load(folder.relative_to(root))
            for path, detections in data.annotations.items():
                found[Path(path).relative_to(root).as_posix()] = of_detections(data, detections)
    return found


def test_every_format_is_tried_here() -> None:
    elsewhere = {"csv", "review"}
    assert set(format_names()) - elsewhere == {
        "coco", "coco-results", "coco-rle", "cvat", "fiftyone", "label-studio", "masks", "voc", "voc-zero", "yolo",
    }  # fmt: skip


def test_coco_is_read_by_supervision(photos: Path, tmp_path: Path) -> None:
    data = sv.DetectionDataset.from_coco(str(photos), str(write("coco", tmp_path / "coco.json")))
    found = {Path(path).relative_to(photos).as_posix(): detections for path, detections in data.annotations.items()}
    check({name: of_detections(data, detections) for name, detections in found.items()}, within=1e-3)


def test_coco_results_fit_the_coco_file(tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(write("coco", tmp_path / "coco.json")))
        results = coco.loadRes(str(write("coco-results", tmp_path / "results.json")))
    assert len(results.anns) == len(coco.anns) > 0
    for key, one in coco.anns.items():
        assert {name: results.anns[key][name] for name in ("image_id", "category_id", "bbox", "score")} == {
            name: one[name] for name in ("image_id", "category_id", "bbox", "score")
        }


def test_coco_results_of_images_without_boxes_are_an_empty_list(tmp_path: Path) -> None:
    find_exporter("coco-results").write([localization("a.jpg", [], [], (9, 9))], tmp_path / "r.json", CLASSES)
    assert json.loads((tmp_path / "r.json").read_text()) == []


def test_run_lengths_are_the_masks(tmp_path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(write("coco-rle", tmp_path / "rle.json")))
    for image in coco.imgs.values():
        (one,) = (one for one in some() if one.image_id == image["file_name"])
        found = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert one.masks is not None
        assert [coco.annToMask(annotation).tolist() for annotation in found] == one.masks.tolist()
        assert [annotation["area"] for annotation in found] == one.masks.sum(axis=(1, 2)).tolist()


def test_yolo_is_read_by_supervision(photos: Path, tmp_path: Path) -> None:
    yolo = write("yolo", tmp_path / "yolo", photos)
    images = yolo / "images" / "train"

    def load(folder: Path) -> sv.DetectionDataset:
        labels = yolo / "labels" / "train" / folder
        return sv.DetectionDataset.from_yolo(str(images / folder), str(labels), str(yolo / "data.yaml"))

    found = by_folder(images, load)
    assert "a.png.png" in found  # its label file would else be that of a.jpg
    found["a.png"] = found.pop("a.png.png")
    check(found, within=1e-3)
    for link in (path for path in images.rglob("*") if path.is_file()):
        assert link.resolve().is_relative_to(photos.resolve())
    settings = yaml.safe_load((yolo / "data.yaml").read_text(encoding="utf-8"))
    assert settings["names"] == dict(enumerate(CLASSES))
    assert (yolo / settings["train"]).is_dir()


def test_yolo_copies_images_where_the_disk_has_no_links(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    write("yolo", tmp_path / "yolo", photos)
    copy = tmp_path / "yolo" / "images" / "train" / "day 1" / "a.jpg"
    assert not copy.is_symlink()
    assert copy.read_bytes() == (photos / "day 1" / "a.jpg").read_bytes()


def test_yolo_labels_of_a_folder_images_are_where_trainers_look(tmp_path: Path) -> None:
    ids = ["train/images/a.jpg", "images/a.jpg", "images/images/images.jpg", "images_/a.jpg", "images_/a.png"]
    for image_id in ids:
        (tmp_path / image_id).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / image_id)
    boxes = {image_id: [[0.0, 0.0, 1.0 + number, 1.0]] for number, image_id in enumerate(ids)}
    found = [localization(image_id, one, [0], (9, 9)) for image_id, one in boxes.items()]
    find_exporter("yolo").write(found, tmp_path / "yolo", CLASSES, tmp_path)
    links = [path for path in (tmp_path / "yolo" / "images").rglob("*") if path.is_file()]
    assert len(links) == len(ids)
    for link in links:  # ultralytics' img2label_paths
        labels = Path("/labels/".join(str(link).rsplit("/images/", 1)).rsplit(".", 1)[0] + ".txt")
        width = float(labels.read_text(encoding="utf-8").split()[3]) * 9
        assert width == pytest.approx(boxes[link.resolve().relative_to(tmp_path.resolve()).as_posix()][0][2])


def test_voc_is_read_by_globox(tmp_path: Path) -> None:
    voc = write("voc", tmp_path / "voc")
    data = globox.AnnotationSet.from_pascal_voc(voc / "Annotations", recursive=True)
    # It takes corners as they are: the first and the last pixel, counted from 1.
    found = {
        one.image_id: [(box.label, [box.xmin - 1, box.ymin - 1, box.xmax, box.ymax]) for box in one.boxes]
        for one in data
    }
    check(found)
    names = (voc / "ImageSets" / "Main" / "default.txt").read_text(encoding="utf-8").splitlines()
    assert len(names) == len(NAMES)
    assert all((voc / "Annotations" / f"{name}.xml").is_file() for name in names)


def test_voc_zero_is_read_as_datumaro_reads_voc_by_default(tmp_path: Path) -> None:
    voc = write("voc-zero", tmp_path / "voc_zero")
    found: Boxes = {}
    for path in (voc / "Annotations").rglob("*.xml"):
        root = ElementTree.parse(path).getroot()
        boxes = []
        for node in root.iter("object"):
            xmin, ymin, xmax, ymax = (float(node.findtext(f"bndbox/{key}", "")) for key in VOC_CORNERS)
            x, y, width, height = xmin, ymin, xmax - xmin, ymax - ymin  # its Bbox
            boxes.append((node.findtext("name", ""), [x, y, x + width, y + height]))
        found[root.findtext("filename", "")] = boxes
    check(found, within=0)


def test_voc_is_read_by_supervision(photos: Path, tmp_path: Path) -> None:
    annotations = write("voc", tmp_path / "voc") / "Annotations"
    folder = photos / "day 1"
    data = sv.DetectionDataset.from_pascal_voc(str(folder), str(annotations / "day 1"))
    (detections,) = data.annotations.values()
    ((label, box),) = expected()["day 1/a.jpg"]
    assert of_detections(data, detections) == [(label, box)]


def test_cvat_is_read_by_globox(tmp_path: Path) -> None:
    data = globox.AnnotationSet.from_cvat(write("cvat", tmp_path / "cvat.xml"))
    check({one.image_id: [(box.label, [box.xmin, box.ymin, box.xmax, box.ymax]) for box in one.boxes] for one in data})
    labels = ElementTree.parse(tmp_path / "cvat.xml").findall("meta/task/labels/label/name")
    assert tuple(label.text for label in labels) == CLASSES


def test_label_studio_has_percent_scores_and_a_configuration(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "label_studio"
    with find_exporter("label-studio").open(Target(folder, CLASSES, photos, "cdtr/neu")) as add:
        for one in some():
            add(one)
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    config = ElementTree.parse(folder / "labeling_config.xml").getroot()
    (image,), (labels,) = config.findall("Image"), config.findall("RectangleLabels")
    assert [label.get("value") for label in labels] == list(CLASSES)
    found: Boxes = {}
    for task, one in zip(tasks, some(), strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "cdtr/neu"
        assert prediction["score"] == pytest.approx(one.scores.max(initial=0))
        boxes = []
        for region, score in zip(prediction["result"], one.scores, strict=True):
            assert region["from_name"] == labels.get("name")
            assert region["to_name"] == image.get("name")
            assert region["score"] == pytest.approx(score)
            value, (height, width) = region["value"], one.size_hw
            left, top = value["x"] * width / 100, value["y"] * height / 100
            right, bottom = left + value["width"] * width / 100, top + value["height"] * height / 100
            boxes.append((value["rectanglelabels"][0], [left, top, right, bottom]))
        found[task["data"]["image_id"]] = boxes
    check(found, within=1e-3)
    assert image.get("value") == "$image"
    assert (
        tasks[2]["data"]["image"]
        == "/data/local-files/?d=" + photos.name.replace(" ", "%20").replace("&", "%26") + "/day%201/a.jpg"
    )


def test_label_studio_serves_a_linked_folder_under_the_link_s_name(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "val").symlink_to(photos, target_is_directory=True)
    tasks = json.loads((write("label-studio", tmp_path / "out", tmp_path / "val") / "tasks.json").read_text())
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=val/a.jpg"


def test_fiftyone_has_shares_confidences_and_paths(photos: Path, tmp_path: Path) -> None:
    folder = write("fiftyone", tmp_path / "fiftyone", photos)
    tree, paths = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("labels.json", "data.json"))
    assert tree["classes"] == list(CLASSES)
    # As its importer does: a key of the manifest without the suffix is the key of the labels.
    by_name = {str(Path(key).with_suffix("")): Path(path) for key, path in paths.items()}
    assert by_name.keys() == tree["labels"].keys()
    found: Boxes = {}
    for name, boxes in tree["labels"].items():
        width, height = Image.open(by_name[name]).size
        image_id = by_name[name].relative_to(photos).as_posix()
        found[image_id] = []
        for box in boxes:
            left, top, w, h = box["bounding_box"]
            corners = [left * width, top * height, (left + w) * width, (top + h) * height]
            found[image_id].append((box["label"], corners))
            assert 0 < box["confidence"] <= 1
    check(found, within=1e-3)


def test_masks_hold_class_and_box_numbers_and_the_better_scored_on_top(tmp_path: Path) -> None:
    one = localization("a/b.jpg", [[1, 1, 6, 6], [3, 3, 9, 8]], [2, 0], (10, 12))
    find_exporter("masks").write([one], tmp_path / "masks", CLASSES)
    classes, objects = (
        Image.open(tmp_path / "masks" / folder / "a" / "b.png")
        for folder in ("SegmentationClass", "SegmentationObject")
    )
    assert classes.mode == "P"
    assert np.asarray(classes)[[2, 4, 7, 0], [2, 4, 8, 0]].tolist() == [3, 3, 1, 0]
    assert np.asarray(objects)[[2, 4, 7, 0], [2, 4, 8, 0]].tolist() == [1, 1, 2, 0]
    lines = (tmp_path / "masks" / "labelmap.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert lines[3] == f"{CLASSES[2]}:{','.join(map(str, classes.convert('RGB').getpixel((2, 2))))}::"
    assert len(lines) == 1 + len(CLASSES)


def test_masks_of_many_classes_are_colours(tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(1000))
    find_exporter("masks").write([localization("b.jpg", [[1, 1, 6, 6]], [999], (10, 12))], tmp_path / "masks", names)
    picture = Image.open(tmp_path / "masks" / "SegmentationClass" / "b.png")
    assert picture.mode == "RGB"
    assert picture.getpixel((2, 2)) == voc_colour(1000)
    assert len({voc_colour(index) for index in range(1001)}) == 1001


@pytest.mark.parametrize("name", ["masks", "coco-rle"])
def test_without_masks_there_is_one_clear_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no mask for each box"):
        find_exporter(name).write([replace(some()[0], masks=None)], tmp_path / "out", CLASSES)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name in format_names() if name != "review"])
def test_an_error_leaves_the_old_output_and_nothing_beside_it(name: str, photos: Path, tmp_path: Path) -> None:
    path = write(name, tmp_path / find_exporter(name).file_name, photos)
    before = {entry.relative_to(tmp_path): entry.is_file() and entry.read_bytes() for entry in tmp_path.rglob("*")}

    def broken() -> list[Localization]:
        return [some()[0], localization("b.jpg", [[0, 0, 1, 1]], [7], (9, 9))]

    with pytest.raises(DataError, match="class 7, 3 class names"):
        find_exporter(name).write(broken(), path, CLASSES)
    assert before == {
        entry.relative_to(tmp_path): entry.is_file() and entry.read_bytes() for entry in tmp_path.rglob("*")
    }


@pytest.mark.parametrize("name", ["fiftyone", "label-studio", "masks", "voc", "voc-zero", "yolo"])
def test_a_folder_is_written_anew_but_nothing_of_somebody_else_is_lost(name: str, photos: Path, tmp_path: Path) -> None:
    exporter = find_exporter(name)
    write(name, tmp_path / "out", photos)
    exporter.write(some()[:1], tmp_path / "out", CLASSES, photos)
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.suffix in (".txt", ".xml", ".png")]
    assert not any("100%" in name for name in left)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        write(name, tmp_path / "mine", photos)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


@pytest.mark.parametrize(
    "image_id", ["new\nline.jpg", "half\udcff.jpg", "bell\x07.jpg"], ids=["line end", "not UTF-8", "control"]
)
@pytest.mark.parametrize("name", [name for name in format_names() if name != "review"])
def test_names_that_cannot_be_written_are_refused(name: str, image_id: str, tmp_path: Path) -> None:
    assert not can_be_written(image_id)
    with pytest.raises(DataError, match="rename it"):
        find_exporter(name).write([localization(image_id, [], [], (9, 9))], tmp_path / "out", CLASSES)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["fiftyone", "masks", "voc", "voc-zero", "yolo"])
def test_an_id_cannot_leave_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a path below"):
        find_exporter(name).write([localization("../a.jpg", [], [], (9, 9))], tmp_path / "out" / "x", CLASSES)
    assert not any((tmp_path / "out").iterdir())


def test_a_class_name_that_a_format_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    for name in ("voc", "voc-zero", "masks"):
        with pytest.raises(DataError, match="colon"):
            find_exporter(name).write([], tmp_path / "out", ("a:b", "c"))
    with pytest.raises(DataError, match="rename it"):
        find_exporter("csv").write([], tmp_path / "out", ("a\nb", "c"))


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[coco\]'"):
        write("coco-rle", tmp_path / "out")


def test_stems_never_meet() -> None:
    stems = Stems()
    ids = ["a.jpg", "a.png", "A.JPG", "a.jpg.png", "a.png.png", "b/a.jpg", "e\u0301.jpg", "é.jpg", "a", "a.png.jpg"]
    names = [stems.name(image_id) for image_id in ids]
    assert names[:2] == ["a", "a.png"]
    assert len({name.casefold() for name in names}) == len(ids)


corner = st.floats(0, 1, width=32)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    shares=st.lists(st.tuples(corner, corner, corner, corner), max_size=4),
)
def test_any_box_comes_back_to_half_a_pixel(
    size: tuple[int, int], shares: list[tuple[float, ...]], tmp_path: Path
) -> None:
    height, width = size
    boxes = []
    for a, b, c, d in shares:
        x0, x1 = sorted((a * width, b * width))
        y0, y1 = sorted((c * height, d * height))
        if x1 - x0 >= 1 and y1 - y0 >= 1:
            boxes.append([x0, y0, x1, y1])
    one = localization("a b/ü.jpg", [], [], (1, 1))
    one = replace(
        one,
        size_hw=size,
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.zeros(len(boxes), dtype=np.int64),
        scores=np.ones(len(boxes), dtype=np.float32),
    )
    for name in ("coco", "csv", "cvat", "label-studio", "yolo", "voc"):
        exporter = find_exporter(name)
        path = tmp_path / exporter.file_name
        exporter.write([one], path, ("x", "y"))
        if name == "yolo":
            lines = (path / "labels" / "train" / "a b" / "ü.txt").read_text().split("\n")[:-1]
            values = np.array([line.split()[1:] for line in lines], dtype=float).reshape(-1, 4)
            corners = np.hstack([values[:, :2] - values[:, 2:] / 2, values[:, :2] + values[:, 2:] / 2])
            found = corners * [width, height, width, height]
        elif name == "voc":
            data = globox.AnnotationSet.from_pascal_voc(path / "Annotations", recursive=True)
            rows = [[box.xmin - 1, box.ymin - 1, box.xmax, box.ymax] for one in data for box in one.boxes]
            found = np.array(rows, dtype=float).reshape(-1, 4)
        else:
            file = path / "tasks.json" if name == "label-studio" else path
            (image,) = read_written(file)[1].images
            assert image.names[0] == "a b/ü.jpg"
            found = np.array([box.xyxy for box in image.boxes]).reshape(-1, 4)
        np.testing.assert_allclose(found, one.boxes_xyxy, atol=0.501, rtol=0)
