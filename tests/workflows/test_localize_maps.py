"""Files of boxes from Python, as the command writes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cdtr
from cdtr.errors import ConfigError, DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("cat/a.png", "dog/b.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(path)
        score_map = np.zeros((20, 40), dtype=np.float32)
        score_map[5:15, 10:30] = 1
        stored = tmp_path / "maps" / Path(name).with_suffix(".npy")
        stored.parent.mkdir(parents=True, exist_ok=True)
        np.save(stored, score_map)
    return tmp_path / "photos"


def test_maps_become_files_and_a_typed_result(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes"
    found = cdtr.localize_maps(tmp_path / "maps", photos, out, "coco,csv", threshold=0.5, heatmaps=True)
    assert repr(found) == "Localized(2 boxes in 2 images at threshold 0.5; coco.json, boxes.csv, heatmaps)"
    assert found.boxes == 2
    assert found.without_box == 0
    assert found.left_out == {}
    assert found.paths == {name: photos / name for name in ("cat/a.png", "dog/b.png")}
    assert found._repr_html_().count("<img ") == 2
    assert [one.boxes_xyxy.tolist() for one in found.localizations] == [[[10, 5, 30, 15]]] * 2
    boxes = [one["bbox"] for one in json.loads((out / "coco.json").read_text())["annotations"]]
    assert boxes == [[10, 5, 20, 10]] * 2
    assert (out / "heatmaps" / "cat" / "a.png.png").is_file()
    with pytest.raises(ConfigError, match="is there already"):
        cdtr.localize_maps(tmp_path / "maps", photos, out, ["coco"], threshold=0.5)


def test_what_cannot_be_is_said_before_any_work(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of the format yolo"):
        cdtr.localize_maps(tmp_path / "maps", photos, tmp_path / "out", flat=True)
    with pytest.raises(ConfigError, match="no images"):
        cdtr.localize("run", [], tmp_path / "out")
    with pytest.raises(DataError, match="is a file"):
        cdtr.localize("run", photos, photos / "cat" / "a.png")
