"""The code of docs/detector.md leaves out the images without a box, of what the formats coco and yolo write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.formats import find_exporter
from cdtr.records import Localization

PAGE = Path(__file__).resolve().parents[2] / "docs" / "detector.md"
COCO, YOLO = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def localized(image_id: str, boxes: list[list[float]]) -> Localization:
    count = len(boxes)
    return Localization(
        image_id=image_id,
        size_hw=(8, 8),
        boxes_xyxy=np.array(boxes, dtype=np.float32).reshape(-1, 4),
        labels=np.zeros(count, dtype=np.int64),
        scores=np.ones(count, dtype=np.float32),
        map=np.zeros((8, 8), dtype=np.float32),
        map_label=0,
        class_probs=np.ones(1, dtype=np.float32),
        class_names=("images",),
    )


@pytest.fixture
def boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What `cdtr localize` writes of six images below a folder ``images``, every second one without a box."""
    found = [localized(f"images/{number}.png", [[1, 1, 5, 6]] * (number % 2)) for number in range(6)]
    for one in found:
        (tmp_path / one.image_id).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / one.image_id)
    (tmp_path / "boxes").mkdir()
    for name in ("coco", "yolo"):
        exporter = find_exporter(name)
        exporter.write(found, tmp_path / "boxes" / exporter.file_name, ("images",), tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "boxes"


def test_of_coco_the_images_with_a_box_stay(boxes: Path) -> None:
    exec(COCO, {})
    tree = json.loads((boxes / "train.json").read_text())
    assert [one["file_name"] for one in tree["images"]] == ["images/1.png", "images/3.png", "images/5.png"]
    assert {one["image_id"] for one in tree["annotations"]} == {one["id"] for one in tree["images"]}


def test_of_yolo_the_images_with_a_box_stay_and_ours_are_untouched(boxes: Path) -> None:
    exec(YOLO, {})
    for kind in ("images", "labels"):
        left = {path.stem for path in (boxes / "yolo" / kind).rglob("*.*")}
        assert left == {"1", "3", "5"}
    assert len(list((boxes.parent / "images").iterdir())) == 6
