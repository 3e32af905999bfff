"""Large images on the command line: every format, overlays, memory of tiles, and images with too many of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import in_process
from PIL import Image

from cdtr.config import load_config
from cdtr.formats import format_names
from cdtr.localization.quality import FEATURES, BoxQuality
from oracles.untrained_run import write_untrained_run

SETTINGS = (
    "data.input_size=[32, 32]",
    "data.resize=[36, 36]",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 1, num_heads: 2}",
    "ocm.k=1",
    "sba.enabled=false",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiles") / "run"
    run = write_untrained_run(path, load_config("small", SETTINGS), ("cat", "dog", "emu"))
    run.manifest_file.write_text(json.dumps({"data": {"image_hw": [400, 500]}}))
    ones = (1.0,) * len(FEATURES)
    quality = BoxQuality(FEATURES, ones, ones, ones, (0.0, 0.0, 0.0), 0.0, 50, 0.5)
    run.calibration_file.write_text(
        json.dumps({"threshold": 0.6, "view": "tiled", "n_images": 50, "box_scores": quality.to_json()})
    )
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large image and a small one."""
    folder = tmp_path_factory.mktemp("large")
    coarse = np.random.default_rng(4).integers(0, 256, (12, 24, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((2400, 1200)).save(folder / "large.jpg")
    Image.fromarray(coarse[:6, :6]).resize((90, 90)).save(folder / "small.png")
    return folder


def test_every_format_has_the_boxes_of_a_large_image(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, formats = tmp_path / "out", ",".join(format_names())
    told = tmp_path / "told.json"
    code, _, err = in_process(
        *(capsys, "localize", run, images, "--out", out, "--tiles", "auto", "--format", formats),
        *("--overlays", "--heatmaps", "--json", told),
    )
    assert code == 0, err
    assert "tiles of 500 x 400 pixels: 45 tiles in 1 of 2 images; 1 are localized whole" in err
    coco = json.loads((out / "coco.json").read_text())
    by_size = {(one["width"], one["height"]): one["id"] for one in coco["images"]}
    of_large = [one["bbox"] for one in coco["annotations"] if one["image_id"] == by_size[2400, 1200]]
    of_small = [one["bbox"] for one in coco["annotations"] if one["image_id"] == by_size[90, 90]]
    assert len(of_large) > 1, "every region has a box"
    assert len(of_small) == 1
    assert max(x + width for x, _, width, _ in of_large) > 1000, "in pixels of the image"
    assert json.loads(told.read_text())["boxes"] == len(of_large) + 1
    for name in json.loads(told.read_text())["files"]:
        assert Path(name).exists(), name
    with Image.open(out / "overlays" / "large.jpg.jpg") as drawn:
        assert drawn.size == (2048, 1024)
    with Image.open(out / "overlays" / "small.png.jpg") as drawn:
        assert drawn.size == (90, 90)
    with Image.open(out / "heatmaps" / "large.jpg.png") as heat:
        assert max(heat.size) < 2400, "the map has its own resolution"
    masks = json.loads((out / "coco_rle.json").read_text())["annotations"]
    assert len(masks) == len(of_large) + 1


def test_an_image_of_too_many_tiles_is_left_out_by_name(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("L", (40, 40)).save(folder / "small.png")
    Image.new("L", (3600, 3600)).save(folder / "huge.png")
    code, out, err = in_process(capsys, "localize", run, folder, "--out", tmp_path / "out", "--tiles", "36")
    assert code == 0, err
    reason = "3600 x 3600 pixels are 39601 tiles of 36 x 36, more than 10000: give larger ones as --tiles"
    assert reason in out + err
    assert "huge.png" in (tmp_path / "out" / "left_out.csv").read_text()
    code, _, err = in_process(capsys, "localize", run, folder / "huge.png", "--out", tmp_path / "none", "--tiles", "36")
    assert code == 2
    assert not (tmp_path / "none").exists()
