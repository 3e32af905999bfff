"""Masks of two shades: recognised beside the images, read from a folder of their own, never learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.config import DataConfig
from cdtr.data.datasets import load_source
from cdtr.data.opening import open_data
from cdtr.errors import AnnotationError

SIZE = (40, 30)


def _photo(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def _mask(path: Path, *boxes: tuple[int, int, int, int], white: int = 255, mode: str = "L") -> Path:
    values = np.zeros(SIZE[::-1], dtype=np.uint8)
    for x0, y0, x1, y1 in boxes:
        values[y0:y1, x0:x1] = white
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).convert(mode).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, kind in enumerate(("train/crack", "train/hole", "val/crack", "val/hole")):
        _photo(tmp_path / kind / "a.jpg", number)
    _mask(tmp_path / "train/crack/a.png", (1, 2, 5, 8))
    _mask(tmp_path / "val/crack/a.png", (1, 2, 5, 8), (10, 10, 20, 12), mode="RGB")
    _mask(tmp_path / "val/hole/a.png", white=1)
    _photo(tmp_path / "val/hole/b.jpg", 9)
    _mask(tmp_path / "val/hole/b_mask.png", (0, 0, 40, 30), white=1)
    return tmp_path


def test_masks_beside_images_are_boxes_and_masks_and_no_images(root: Path) -> None:
    source = load_source(root)
    ids = {split: [sample.image_id for sample in samples] for split, samples in source.splits.items()}
    assert ids == {
        "train": ["train/crack/a.jpg", "train/hole/a.jpg"],
        "val": ["val/crack/a.jpg", "val/hole/a.jpg", "val/hole/b.jpg"],
    }
    assert source.annotated
    crack, empty, whole = (source.annotate(sample) for sample in source.splits["val"])
    assert crack is not None
    assert empty is not None
    assert whole is not None
    assert crack.boxes_xyxy.tolist() == [[1, 2, 5, 8], [10, 10, 20, 12]]
    assert crack.mask is not None
    assert int(crack.mask.sum()) == 24 + 20
    assert empty.boxes_xyxy.shape == (0, 4)
    assert whole.boxes_xyxy.tolist() == [[0, 0, 40, 30]]
    assert source.annotate(source.splits["train"][1]) is None
    assert "5 images; 4 masks beside the images, which are not learned" in source.accounts[0].line()


def test_pictures_of_one_stem_that_are_no_masks_stay_images(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        _photo(tmp_path / kind / "1.jpg", 1)
        _photo(tmp_path / kind / "1.png", 2)  # grey, of many shades
    _photo(tmp_path / "a" / "2.jpg", 3, (50, 50))
    _mask(tmp_path / "a" / "2.png", (1, 1, 4, 4))  # of another size
    source = load_source(tmp_path)
    assert len(source.splits["train"]) == 6
    assert not source.annotated


def test_masks_in_a_folder_of_their_own_can_be_named(root: Path, tmp_path: Path) -> None:
    for path in root.rglob("*.png"):
        path.unlink()
    small = np.zeros((15, 20), dtype=np.uint8)
    small[1:4, 2:6] = 255
    (tmp_path / "masks" / "val" / "crack").mkdir(parents=True)
    Image.fromarray(small).save(tmp_path / "masks" / "val" / "crack" / "a.png")
    _mask(tmp_path / "masks" / "val" / "crack" / "gone.png")
    with pytest.warns(UserWarning, match="masks is left out"):
        source = open_data(root, DataConfig(boxes=str(tmp_path / "masks")))
    with pytest.warns(UserWarning, match="1 .png files of no image"):
        found = source.annotate(source.splits["val"][0])
    assert found is not None
    assert found.boxes_xyxy.tolist() == [[4, 2, 12, 8]]
    assert "1 .png files of no image (such as val/crack/gone.png)" in source.accounts[1].line()


def test_what_has_more_shades_is_no_mask(root: Path) -> None:
    source = load_source(root)
    _photo(root / "val" / "crack" / "a.png", 5)
    with pytest.raises(AnnotationError, match="expected black and one other"):
        source.annotate(source.splits["val"][0])
