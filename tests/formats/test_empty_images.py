"""An image of a class without an object is in every format, without an annotation."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cdtr.formats import Exporter, find_exporter, format_names
from cdtr.records import Localization

CLASSES = ("crack", "good")


def localization(name: str, boxes: int) -> Localization:
    return Localization(
        image_id=name,
        size_hw=(20, 30),
        boxes_xyxy=np.tile([2, 3, 12, 9], (boxes, 1)).astype(np.float32),
        labels=np.zeros(boxes, dtype=np.int64),
        scores=np.full(boxes, 0.75, dtype=np.float32),
        map=np.zeros((0, 0)),
        map_label=1 - boxes,
        class_probs=np.zeros(0),
        class_names=CLASSES,
        doubts=((),) * boxes,
        masks=np.ones((boxes, 20, 30), dtype=np.uint8),
        object_prob=0.9 if boxes else 0.25,
        empty=not boxes,
    )


FOUND = [localization("crack.png", 1), localization("good.png", 0)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    for one in FOUND:
        Image.new("RGB", (30, 20)).save(root / one.image_id)
    return root


def write(name: str, photos: Path, found: list[Localization] | None = None) -> Path:
    exporter: Exporter = find_exporter(name)
    path = photos.parent / exporter.file_name
    exporter.write(FOUND if found is None else found, path, CLASSES, photos)
    return path


@pytest.mark.parametrize("name", ["coco", "coco-rle"])
def test_coco_lists_the_image_and_annotates_nothing(name: str, photos: Path) -> None:
    tree = json.loads(write(name, photos).read_text())
    assert [one["file_name"] for one in tree["images"]] == ["crack.png", "good.png"]
    assert [one["image_id"] for one in tree["annotations"]] == [1]


def test_coco_results_have_no_entry(photos: Path) -> None:
    assert [one["image_id"] for one in json.loads(write("coco-results", photos).read_text())] == [1]


def test_yolo_has_an_empty_file(photos: Path) -> None:
    folder = write("yolo", photos)
    labels = {path.stem: path.read_text() for path in (folder / "labels").rglob("*.txt")}
    assert labels["good"] == ""
    assert labels["crack"].startswith("0 ")


@pytest.mark.parametrize("name", ["voc", "voc-zero"])
def test_voc_has_a_file_without_an_object(name: str, photos: Path) -> None:
    folder = write(name, photos)
    counts = {
        path.stem: len(ElementTree.parse(path).findall("object")) for path in (folder / "Annotations").glob("*.xml")
    }
    assert counts == {"crack": 1, "good": 0}


def test_csv_has_a_row_without_a_box(photos: Path) -> None:
    rows = list(csv.DictReader(write("csv", photos).open()))
    assert rows[1] == {
        **dict.fromkeys(("label", "score", "x_min", "y_min", "x_max", "y_max"), ""),
        **{"image": "good.png", "width": "30", "height": "20"},
    }


def test_cvat_has_an_image_without_a_box(photos: Path) -> None:
    images = ElementTree.parse(write("cvat", photos)).findall("image")
    assert [len(one.findall("box")) for one in images] == [1, 0]


def test_fiftyone_has_an_empty_list(photos: Path) -> None:
    labels = json.loads((write("fiftyone", photos) / "labels.json").read_text())["labels"]
    assert labels["good"] == []
    assert len(labels["crack"]) == 1


def test_masks_are_zero(photos: Path) -> None:
    folder = write("masks", photos)
    for kind in ("SegmentationClass", "SegmentationObject"):
        assert not np.asarray(Image.open(folder / kind / "good.png")).any()
        assert np.asarray(Image.open(folder / kind / "crack.png")).all()


def test_label_studio_shows_the_sure_ones_last(photos: Path) -> None:
    lost = replace(localization("lost.png", 0), empty=False)
    Image.new("RGB", (30, 20)).save(photos / "lost.png")
    tasks = json.loads((write("label-studio", photos, [*FOUND, lost]) / "tasks.json").read_text())
    assert [task["predictions"][0]["result"] == [] for task in tasks] == [False, True, True]
    assert [task["predictions"][0]["score"] for task in tasks] == [0.75, 0.75, 0.0]


def test_the_review_lists_it_by_the_doubt_in_its_class(photos: Path) -> None:
    sure = replace(localization("sure.png", 0), object_prob=0.0625)
    lost = replace(localization("lost.png", 0), empty=False)
    rows = list(csv.DictReader(write("review", photos, [*FOUND, sure, lost]).open()))
    assert [(row["image"], row["help"]) for row in rows] == [
        ("lost.png", "1.0000"),
        ("crack.png", "0.2500"),
        ("good.png", "0.2500"),
        ("sure.png", "0.0625"),
    ]
    by_name = {row["image"]: row for row in rows}
    assert by_name["good.png"]["label"] == "good"
    assert by_name["good.png"]["score"] == "0.7500"
    assert by_name["good.png"]["boxes"] == "0"
    assert by_name["good.png"]["reasons"] == "no object, but the class is in doubt"
    assert by_name["sure.png"]["reasons"] == "no object"


def test_every_format_is_looked_at_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert not [name for name in format_names() if f'"{name}"' not in text]
