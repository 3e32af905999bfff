"""The bytes of every format's files, so that no change of the code changes what other tools read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.formats import Target, find_exporter, format_names
from cdtr.records import Localization

CLASSES = ("größe & <3>", "Black footed, Albatross", "=1+1")
EXPECTED = {
    "coco": "49e565f1c0ee9aca",
    "coco-results": "72577a8f56b1d89f",
    "coco-rle": "a0421b2ac7c8158e",
    "csv": "ddf75fd4e59bad87",
    "cvat": "9b30bfe419513d66",
    "fiftyone": "d7035b6612e3d902",
    "label-studio": "38cb36072de1dd19",
    "masks": "8fca0e1b8a9da8cf",
    "review": "0dada70d22622cff",
    "voc": "4bdd2b79031ef5b3",
    "voc-zero": "2d9eac33260d45ae",
    "yolo": "613cf6eb7b1387ee",
}


def localized() -> list[Localization]:
    """No box, one box and two, fractions of pixels, names with folders, accents and formulas."""
    found = []
    for number, name in enumerate(("day 1/ä.jpg", "=a.png", "train/images/b.c.jpeg")):
        boxes = np.array([[1.25 + number, 2, 30, 21], [32, 5.5, 59.375, 40.1]], dtype=np.float32)[:number]
        masks = np.zeros((number, 50, 60 + number), dtype=np.uint8)
        for index, (x0, y0, x1, y1) in enumerate(np.round(boxes).astype(int)):
            masks[index, y0:y1, x0:x1] = 1
        found.append(
            Localization(
                image_id=name,
                size_hw=(50, 60 + number),
                boxes_xyxy=boxes,
                labels=np.array([number, 0][:number], dtype=np.int64),
                scores=np.array([0.9, 1 / 3], dtype=np.float32)[:number],
                map=np.zeros((0, 0)),
                map_label=1,
                class_probs=np.zeros(0),
                doubts=(("small",), ())[:number],
                masks=masks,
            )
        )
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder; of a PNG, whose compression may differ, its pixels."""
    whole = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
        whole.update(file.relative_to(path.parent).as_posix().encode())
        if file.suffix == ".png":
            with Image.open(file) as image:
                whole.update(np.asarray(image).tobytes() + bytes(image.getpalette() or ()))
        else:
            whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


@pytest.mark.parametrize("name", format_names())
def test_every_byte_is_as_before(name: str, tmp_path: Path) -> None:
    exporter = find_exporter(name)
    path = tmp_path / exporter.file_name
    with exporter.open(Target(path, CLASSES, source="a run", val_share=0.3)) as add:
        for one in localized():
            add(one)
    assert digest(path) == EXPECTED[name]
