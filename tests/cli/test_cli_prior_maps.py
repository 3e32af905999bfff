"""`cdtr train --prior-maps`: a training with maps of another tool, and one clear line for each bad folder of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import in_process, run_cdtr, tiny_settings
from PIL import Image

MASKS = ("--taught-with", "masks")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """16 images of two classes with a square each, and a PNG map for each in another folder."""
    noise = np.random.default_rng(0)
    for number in range(16):
        name, (left, top) = f"{('cat', 'dog')[number % 2]}/{number}", noise.integers(0, 40, 2)
        pixels = noise.integers(0, 90, (64, 80), dtype=np.uint8)
        pixels[top : top + 24, left : left + 24] += 120
        for folder, content in (("photos", pixels), ("maps", pixels // 100 * 200)):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(tmp_path / folder / f"{name}.png")
    return tmp_path / "photos"


def arguments(photos: Path, maps: Path) -> list[object]:
    out = photos.parent / "run"
    return ["train", photos, "--out", out, "--config", "small", *tiny_settings(), "--prior-maps", maps]


def test_train_with_maps_and_localize_without(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps, run = photos.parent / "my: maps", photos.parent / "run"
    (photos.parent / "maps").rename(maps)
    done = run_cdtr(*arguments(photos, maps), *MASKS, "--set", "data.workers=1")
    assert done.returncode == 0, done.stderr
    assert f"prior maps: 12 of {maps}, taught with: masks" in done.stdout + done.stderr
    label = "small + prior maps (masks) instead of border prior"
    assert json.loads((run / "manifest.json").read_text())["recipe"] == label
    shutil.rmtree(maps)
    code, out, _ = in_process(capsys, "describe", run)
    assert code == 0, out
    assert label in out
    code, _, err = in_process(
        capsys, "localize", run, photos / "cat", "--out", photos.parent / "boxes", "--threshold", 0.3
    )
    assert code == 0, err
    assert len(list((photos.parent / "boxes").iterdir())) > 0


def _save(content: np.ndarray) -> Callable[[Path], None]:
    def write(maps: Path) -> None:
        (maps / "cat" / "2.png").unlink()
        np.save(maps / "cat" / "2.npy", content, allow_pickle=True)

    return write


def _colours(maps: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(maps / "cat" / "2.png")


def _constant(maps: Path) -> None:
    for path in maps.rglob("*.png"):
        Image.new("L", (8, 8)).save(path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing folder": (shutil.rmtree, "no folder MAPS: expected the maps of data.prior_maps, .npy or .png by image id"),
    "missing maps": (lambda maps: shutil.rmtree(maps / "dog"), "MAPS lacks the maps of 6 of 12 images, such as dog/"),
    "three dimensions": (_save(np.zeros((2, 8, 8))), "2.npy has shape (2, 8, 8): expected one map (h, w)"),
    "nan": (_save(np.full((8, 8), np.nan)), "2.npy holds NaN or infinity: expected finite numbers"),
    "infinity": (_save(np.full((8, 8), np.inf)), "2.npy holds NaN or infinity: expected finite numbers"),
    "pickle": (_save(np.array([[None]])), "2.npy is no array file that can be read"),
    "text": (_save(np.array([["a"]])), "2.npy holds values of type <U1: expected numbers"),
    "huge": (_save(np.zeros((120, 120), dtype=bool)), "2.npy has a map of 120 x 120 values, more than 10000"),
    "colours": (_colours, "2.png has colours: expected a map of grey values"),
    "all constant": (_constant, "every map in MAPS is constant: expected higher values on the objects"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD.keys())
def test_bad_maps_are_one_line_before_the_training(
    spoil: Callable[[Path], object], message: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = photos.parent / "maps"
    spoil(maps)
    code, _, err = in_process(capsys, *arguments(photos, maps), "--set", "data.max_pixels=10000")
    assert code == 2
    assert message.replace("MAPS", str(maps)) in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (photos.parent / "run").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--set", "data.augment=official"], "a prior of maps cannot follow data.augment official"),
        (["--set", "guide.enabled=false"], "ocm.prior maps needs guide.enabled: the guide is what learns from maps"),
        (["--taught-with", "<b>"], "expected a few words such as labels, masks, boxes or nothing"),
    ],
    ids=["official", "no guide", "markup"],
)
def test_settings_that_maps_cannot_have_are_one_line(
    more: list[str], message: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(capsys, *arguments(photos, photos.parent / "maps"), *more)
    assert code == 2
    assert message in err.splitlines()[-1]
    assert not (photos.parent / "run").exists()
