"""Folders of YOLO and VOC, JSON-MIN and COCO as tools export them: the same boxes, under our names."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cdtr.corrections import compare, match_images, read_reviewed, read_written, settle_corners
from cdtr.errors import DataError
from cdtr.formats import BoxFile, Target, find_exporter
from cdtr.image_names import exported_names
from cdtr.records import ImageBoxes, Localization

CLASSES = ("dent", "scratch & <mark>")
NAMES = ("a.jpg", "a.png", "day 1/a.jpg", "day 2/a.jpg", "dot.ted.jpg", "none.jpg", "=1.jpg")
SIZE = (90, 160)  # height, width
Boxes = dict[str, list[tuple[str, tuple[float, ...]]]]


def localized() -> list[Localization]:
    found = []
    for number, name in enumerate(NAMES):
        boxes = [[10 + number, 5, 60, 45 + number], [70, 50, 150, 88]][: 1 + number % 2]
        boxes = [] if name == "none.jpg" else boxes
        found.append(
            Localization(
                image_id=name,
                size_hw=SIZE,
                boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
                labels=np.array([number % 2, 1][: len(boxes)], dtype=np.int64),
                scores=np.full(len(boxes), 0.5, dtype=np.float32),
                map=np.zeros((0, 0)),
                map_label=0,
                class_probs=np.zeros(0),
            )
        )
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def out(tmp_path: Path, photos: Path) -> Path:
    """An --out of `cdtr localize` with every format that a review can be of."""
    for name in ("coco", "csv", "voc", "voc-zero", "yolo"):
        exporter = find_exporter(name)
        with exporter.open(Target(tmp_path / "out" / exporter.file_name, CLASSES, photos, "x", 0.3)) as add:
            for one in localized():
                add(one)
    return tmp_path / "out"


def imported(file: Path, boxes: Path) -> tuple[dict[str, ImageBoxes], dict[str, ImageBoxes], int | None]:
    """Ours, the reviewed ones under our names, and from which number corners count where that is not known."""
    _, ours = read_written(boxes, file)
    written = {image.names[0]: image for image in ours.images}
    theirs = read_reviewed(file)
    reviewed, unknown = match_images(written, theirs, str(file))
    assert unknown == 0
    if not theirs.one_based:
        return written, reviewed, None
    reviewed, first, _ = settle_corners(written, reviewed, str(file))
    return written, reviewed, first


def kept(file: Path, boxes: Path) -> tuple[int, int | None]:
    written, reviewed, first = imported(file, boxes)
    assert set(reviewed) == set(NAMES)
    total = compare(written, reviewed, CLASSES).total
    assert total.boxes == total.kept
    assert not total.added
    return total.kept, first


EXPECTED = sum(len(one.labels) for one in localized())


@pytest.mark.parametrize(
    ("reviewed", "first"), [("yolo", None), ("yolo/data.yaml", None), ("voc", 1), ("voc_zero", 0), ("coco.json", None)]
)
@pytest.mark.parametrize(
    "reference", ["", "coco.json", "boxes.csv", "yolo/data.yaml", "voc/labelmap.txt", "voc_zero/labelmap.txt"]
)
def test_our_own_folders_come_back_as_they_were(reviewed: str, first: int | None, reference: str, out: Path) -> None:
    assert kept(out / reviewed, out / reference if reference else out) == (EXPECTED, first)


def test_boxes_of_yolo_alone_have_their_sizes_from_the_images(out: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (out / "yolo").rename(alone / "yolo")
    _, ours = read_written(alone)
    assert {image.names[0]: image.size_hw for image in ours.images} == dict.fromkeys(NAMES, SIZE)
    assert sum(len(image.boxes) for image in ours.images) == EXPECTED


def write_labels(root: Path, folder: str, names: list[str], classes: str | None = "classes.txt") -> Path:
    """YOLO as a tool writes it: the labels below a folder, without names.csv."""
    by_id = {one.image_id: one for one in localized()}
    for path, image_id in zip(names, NAMES, strict=True):
        one = by_id[image_id]
        text = ""
        for (x0, y0, x1, y1), label in zip(one.boxes_xyxy.tolist(), one.labels.tolist(), strict=True):
            shares = (x0 + x1) / 2 / SIZE[1], (y0 + y1) / 2 / SIZE[0], (x1 - x0) / SIZE[1], (y1 - y0) / SIZE[0]
            text += f"{label} {' '.join(f'{share:.6f}' for share in shares)}\n"
        file = root / folder / f"{path}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if classes is not None:
        (root / classes).write_text("\n".join(CLASSES) + "\n")
    return root


BARE = ["a", "a.png", "day 1/a", "day 2/a", "dot.ted", "none", "=1"]


def cvat_yolo(root: Path) -> Path:
    write_labels(root, "obj_train_data", BARE, "obj.names")
    (root / "train.txt").write_text("data/obj_train_data/a.jpg\n")
    (root / "obj.data").write_text("classes = 2\n")
    return root


def cvat_ultralytics(root: Path) -> Path:
    write_labels(root, "labels/train", BARE, None)
    (root / "data.yaml").write_text(f"names:\n  0: {CLASSES[0]}\n  1: '{CLASSES[1]}'\npath: .\ntrain: train.txt\n")
    (root / "train.txt").write_text("images/train/a.jpg\n")
    return root


def roboflow(root: Path) -> Path:
    names = [f"{name.replace('.', '_')}.rf.0a1b2c" for name in ("a.jpg", "a.png")]
    rest = ["day 1/a_jpg.rf.0a", "day 2/a_jpg.rf.1a", "dot.ted_jpg.rf.2b", "none_jpg.rf.3c", "=1_jpg.rf.4d"]
    write_labels(root, "train/labels", [*names, *rest], None)
    (root / "data.yaml").write_text(json.dumps({"names": list(CLASSES), "nc": 2}))
    (root / "README.dataset.txt").write_text("# scratches\n")
    return root


def edited(root: Path) -> Path:
    """Labels loose in the root, as somebody keeps them by hand."""
    return write_labels(root, ".", BARE)


@pytest.mark.parametrize("layout", [cvat_yolo, cvat_ultralytics, roboflow, edited])
def test_yolo_of_other_tools(layout: Callable[[Path], Path], out: Path, tmp_path: Path) -> None:
    assert kept(layout(tmp_path / "export"), out) == (EXPECTED, None)


def test_yolo_of_label_studio_has_base_names_with_a_prefix(out: Path, tmp_path: Path) -> None:
    one = next(one for one in localized() if one.image_id == "dot.ted.jpg")
    for name in ("0123abcd-dot.ted", "0123abcd__dot.ted"):
        root = write_labels(tmp_path / name, "unused", BARE)
        text = (root / "unused" / "dot.ted.txt").read_text()
        (root / "labels").mkdir()
        (root / "labels" / f"{name}.txt").write_text(text)
        for file in (root / "unused").rglob("*.txt"):
            file.unlink()
        _, reviewed, _ = imported(root, out)
        assert list(reviewed) == ["dot.ted.jpg"]
        np.testing.assert_allclose([box.xyxy for box in reviewed["dot.ted.jpg"].boxes], one.boxes_xyxy, atol=1e-3)


@pytest.mark.parametrize("first", [1, 0])
def test_voc_of_tools_that_count_from_one_or_zero(first: int, out: Path, tmp_path: Path) -> None:
    """As CVAT writes it, below Annotations with the folders of the images, and with a box added at the edge."""
    root = tmp_path / "export" / "Annotations"
    for one in localized():
        objects = "".join(
            f"<object><name>{escape(CLASSES[label])}</name><bndbox><xmin>{x0 + first}</xmin>"
            f"<ymin>{y0 + first}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for (x0, y0, x1, y1), label in zip(one.boxes_xyxy.tolist(), one.labels.tolist(), strict=True)
        )
        if one.image_id == "none.jpg":
            objects = (
                f"<object><name>dent</name><bndbox><xmin>{first}</xmin><ymin>{first}</ymin><xmax>9</xmax><ymax>9</ymax>"
                "</bndbox></object>"
            )
        name = one.image_id.removesuffix(".jpg")
        (root / f"{name}.xml").parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.xml").write_text(
            f"<annotation><filename>{one.image_id}</filename><size><width>{SIZE[1]}</width><height>{SIZE[0]}</height>"
            f"</size>{objects}</annotation>"
        )
    written, reviewed, found = imported(root.parent, out)
    total = compare(written, reviewed, CLASSES).total
    assert found == first
    assert total.kept == EXPECTED
    assert total.moved == 0
    assert total.added == 1
    assert reviewed["none.jpg"].boxes[0].xyxy == (0, 0, 9, 9)


@pytest.mark.parametrize(("box", "first", "told"), [((3, 4, 9, 9), 1, True), ((2, 3, 9, 9), 0, True), (None, 1, False)])
def test_where_no_box_lies_as_ours_voc_counts_from_one_and_nothing_is_claimed(
    box: tuple[float, ...] | None, first: int, told: bool, tmp_path: Path
) -> None:
    x0, y0, x1, y1 = box or (20, 20, 30, 30)
    root = tmp_path / "export"
    root.mkdir()
    (root / "a.xml").write_text(
        f"<annotation><filename>a.jpg</filename><size><width>{SIZE[1]}</width><height>{SIZE[0]}</height></size><object>"
        f"<name>dent</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
        "</object></annotation>"
    )
    ours = tmp_path / "boxes.csv"
    ours.write_text(f"image,label,x_min,y_min,x_max,y_max,width,height\na.jpg,dent,2,3,9,9,{SIZE[1]},{SIZE[0]}\n")
    _, found = read_written(ours)
    written = {image.names[0]: image for image in found.images}
    reviewed, _ = match_images(written, read_reviewed(root), "x")
    assert settle_corners(written, reviewed, "x")[1:] == (first, told)


def min_row(name: str, number: int, boxes: list[dict[str, Any]] | None, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"image": f"/data/local-files/?d=photos/{name}", "image_id": name, "id": number}
    if boxes is not None:
        row["label"] = boxes
    times = {"created_at": "2026-01-01", "updated_at": "2026-01-01", "lead_time": 1.5}
    return {**row, "annotator": 1, "annotation_id": 10 + number, **times, **changes}


def rectangle(label: str, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    height, width = SIZE
    place = {"x": 100 * x0 / width, "y": 100 * y0 / height, "width": 100 * (x1 - x0) / width}
    place["height"] = 100 * (y1 - y0) / height
    return {**place, "rotation": 0, "rectanglelabels": [label], "original_width": width, "original_height": height}


def test_json_min_of_label_studio(out: Path, tmp_path: Path) -> None:
    rows = []
    for number, one in enumerate(localized()):
        boxes = [
            rectangle(CLASSES[label], *box)
            for box, label in zip(one.boxes_xyxy.tolist(), one.labels.tolist(), strict=True)
        ]
        rows.append(min_row(one.image_id, number, boxes or None))
    file = tmp_path / "min.json"
    file.write_text(json.dumps(rows))
    assert kept(file, out) == (EXPECTED, None)


def test_of_a_tasks_rows_in_json_min_the_last_counts_and_other_results_are_named(tmp_path: Path) -> None:
    rows = [
        min_row("a.jpg", 1, [rectangle("dent", 1, 2, 30, 40)], updated_at="2026-03-01"),
        min_row("a.jpg", 1, None, updated_at="2026-02-01"),
        min_row("b.jpg", 2, [{"polygonlabels": ["dent"], "points": [[1, 2]]}], quality="good", tags=["x"]),
    ]
    file = tmp_path / "min.json"
    file.write_text(json.dumps(rows))
    found = read_reviewed(file)
    assert [(image.names[0], len(image.boxes)) for image in found.images] == [("a.jpg", 1), ("b.jpg", 0)]
    assert dict(found.unread) == {"earlier annotations of a task": 1, "results that are no rectangle": 1}


def test_coco_of_label_studio_names_images_from_a_folder_of_its_own(out: Path, tmp_path: Path) -> None:
    tree = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    for image in tree["images"]:
        image["file_name"] = f"../../media/photos/{image['file_name']}"
    file = tmp_path / "result.json"
    file.write_text(json.dumps(tree), encoding="utf-8")
    assert kept(file, out) == (EXPECTED, None)


@pytest.mark.parametrize("name", ["photos/../../etc/a.jpg", "/etc/a.jpg", "C:/a.jpg"])
def test_coco_names_that_leave_the_folder_are_refused(name: str, out: Path, tmp_path: Path) -> None:
    tree = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    tree["images"][0]["file_name"] = name
    file = tmp_path / "result.json"
    file.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(DataError, match="points outside the folder"):
        imported(file, out)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", ("a.jpg",)),
        ("../x/a.jpg", ("x/a.jpg",)),
        ("..\\x\\a.jpg", ("x/a.jpg",)),
        ("images/0123abcd-a.jpg", ("images/0123abcd-a.jpg", "images/a.jpg")),
        ("0123abcd__a.jpg", ("0123abcd__a.jpg", "a.jpg")),
        ("a_png.rf.0123.jpg", ("a_png.rf.0123.jpg", "a.png")),
        ("..", ("..",)),
        ("x/../a.jpg", ("x/../a.jpg",)),
    ],
)
def test_exported_names(name: str, expected: tuple[str, ...]) -> None:
    assert exported_names(name) == expected


@given(st.text(alphabet="./\\ab0:", max_size=12))
def test_any_name_has_candidates(name: str) -> None:
    assert exported_names(name)


def test_what_cannot_be_read_is_named(out: Path, tmp_path: Path) -> None:
    no_names = write_labels(tmp_path / "no names", "labels", BARE, None)
    with pytest.raises(DataError, match=r"has no data\.yaml"):
        read_reviewed(no_names)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as packed:
        packed.writestr("labels/a.txt", "")
    with pytest.raises(DataError, match="is an archive: unpack it"):
        read_reviewed(tmp_path / "export.zip")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nothing"):
        with pytest.raises(DataError, match="expected an export of Label Studio"):
            read_reviewed(path)
    fewer = write_labels(tmp_path / "fewer", "labels", BARE)
    (fewer / "classes.txt").write_text("dent\n")
    with pytest.raises(DataError, match="class 1, but there are 1 names"):
        read_reviewed(fewer)
    (out / "yolo" / "names.csv").write_text("image\nx\n")
    with pytest.raises(DataError, match=r"names\.csv cannot be read"):
        read_reviewed(out / "yolo")


def test_pose_labels_come_back_as_their_boxes(out: Path, tmp_path: Path) -> None:
    """Key points are no corners of a polygon: the boxes would be others, in silence."""
    root = write_labels(tmp_path / "pose", "labels/train", BARE, None)
    for file in root.rglob("*.txt"):
        file.write_text("".join(f"{line} 0.1 0.1 0.9 0.9\n" for line in file.read_text().splitlines()))
    (root / "data.yaml").write_text(f"names: {json.dumps(CLASSES)}\nkpt_shape: [2, 2]\n")
    assert kept(root, out) == (EXPECTED, None)


def test_a_name_without_suffix_that_two_images_have_is_refused(out: Path, tmp_path: Path) -> None:
    root = write_labels(tmp_path / "export", "labels", BARE)
    (root / "labels" / "a.png.txt").unlink()
    with pytest.raises(DataError, match=r"image 'labels/a' may be a\.(jpg|png) or a\.(jpg|png)"):
        imported(root, out)


def test_boxes_without_any_size_are_refused() -> None:
    theirs = ImageBoxes(("a",), None, (), shares=True, bare=True)
    with pytest.raises(DataError, match="has no size"):
        match_images({"a.jpg": ImageBoxes(("a.jpg",), None, ())}, BoxFile((theirs,), None, {}), "x")
    ours = {"a.jpg": ImageBoxes(("a.jpg",), (9, 9), ())}
    (found,) = match_images(ours, BoxFile((theirs,), None, {}), "x")[0].values()
    assert found == replace(theirs, size_hw=(9, 9), shares=False)
