"""Prior maps stay on their images in every augmentation, and a bad one is known before a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cdtr.config import Config, DataConfig
from cdtr.data.datasets import load_source
from cdtr.data.loader import train_loader
from cdtr.data.prior_maps import PriorMaps
from cdtr.data.shards import write_shards
from cdtr.data.transforms import TrainTransform
from cdtr.errors import ConfigError, DataError
from cdtr.records import Batch, Sample

SIZE_HW = (60, 90)
FOLLOWED = ["none", "flip", "crop_flip", "shift_flip", "resized_crop"]


def square(left: int, top: int) -> np.ndarray:
    """A bright square on black, (H, W) in [0, 1]."""
    found = np.zeros(SIZE_HW, dtype=np.float32)
    found[top : top + 20, left : left + 25] = 1
    return found


def config(maps: Path, **changes: Any) -> Config:
    data = {"input_size": [32, 48], "resize": [40, 56], "workers": 0, "prior_maps": str(maps), **changes}
    train = {"batch_size": data.pop("batch_size", 4)}
    return Config().updated(data=data, guide={"enabled": True}, ocm={"prior": "maps"}, train=train)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """12 images of two classes: a square on black, and maps of other sizes that show the same square."""
    for number in range(12):
        name = f"{('cat', 'dog')[number % 2]}/{number}"
        drawn = Image.fromarray(square(5 * number, 3 * number))
        for folder in ("photos", "maps"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        drawn.point(lambda value: 255 * value).convert("L").save(tmp_path / "photos" / f"{name}.png")
        size = [(48, 48), (90, 60), (200, 100)][number % 3]
        np.save(tmp_path / "maps" / f"{name}.npy", 7 + np.asarray(drawn.resize(size, Image.Resampling.BILINEAR)))
    return tmp_path / "photos"


def centre(values: torch.Tensor) -> tuple[float, float]:
    """The centroid of what is brighter than half of the range, in pixels."""
    rows, columns = (values > (values.min() + values.max()) / 2).nonzero().double().mean(dim=0).tolist()
    return rows, columns


def grey(images: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=-3)


@pytest.mark.parametrize("mode", FOLLOWED)
@pytest.mark.parametrize("map_size", [(48, 48), (90, 60), (300, 100)], ids=["small", "same", "large"])
def test_a_map_moves_with_its_image(mode: str, map_size: tuple[int, int]) -> None:
    drawn = square(15, 10)
    image = Image.fromarray((255 * drawn).astype(np.uint8)).convert("RGB")
    prior = Image.fromarray(drawn).resize(map_size, Image.Resampling.BILINEAR)
    settings = DataConfig(input_size=(32, 48), resize=(40, 56), augment=mode)  # type: ignore[arg-type]
    transform, seen, places = TrainTransform(settings), 0, set()
    for seed in range(30):
        torch.manual_seed(seed)
        moved, clean, moved_prior = transform.with_map(image, prior)
        torch.manual_seed(seed)
        assert torch.equal(moved, transform(image)[0])
        assert clean is None
        assert moved_prior is not None
        assert moved_prior.shape == (32, 48)
        assert moved_prior.dtype == torch.float32
        if moved_prior.max() < 0.9:  # resized_crop may lose the square
            continue
        seen += 1
        places.add(centre(grey(moved)))
        assert centre(moved_prior) == pytest.approx(centre(grey(moved)), abs=0.75)
    assert seen > 15
    if mode == "flip":
        assert len(places) == 2
    else:
        assert (len(places) > 10) == (mode != "none")


def test_a_warped_image_takes_no_map() -> None:
    transform = TrainTransform(DataConfig(augment="official"))
    with pytest.raises(ConfigError, match=r"data\.augment official warps images, and maps cannot follow"):
        transform.with_map(Image.new("RGB", (40, 40)), Image.new("F", (40, 40)))
    assert transform.with_map(Image.new("RGB", (40, 40)), None)[2] is None


def batches_of(samples: tuple[Sample, ...], settings: Config, epoch: int = 1) -> list[Batch]:
    loader = train_loader(samples, settings, maps=PriorMaps.of(settings, samples))
    loader.set_position(epoch)
    return list(loader)


def assert_aligned(batches: list[Batch]) -> None:
    assert batches
    for batch in batches:
        assert batch.prior is not None
        assert batch.prior.shape == (len(batch.labels), 32, 48)
        assert batch.prior.min() == 0
        assert batch.prior.max() == pytest.approx(1, abs=0.05)
        for image, prior in zip(batch.images, batch.prior, strict=True):
            assert centre(prior) == pytest.approx(centre(grey(image)), abs=0.75)


@pytest.mark.parametrize("repeats", [1, 2])
def test_workers_and_repeats_keep_maps_at_their_images(repeats: int, photos: Path) -> None:
    samples = load_source(photos).splits["train"]
    here, there = (
        batches_of(samples, config(photos.parent / "maps", augment="shift_flip", workers=workers, repeats=repeats))
        for workers in (0, 2)
    )
    assert_aligned(here)
    for first, second in zip(here, there, strict=True):
        assert first.samples == second.samples
        assert torch.equal(first.images, second.images)
        assert first.prior is not None
        assert second.prior is not None
        assert torch.equal(first.prior, second.prior)


def test_maps_change_no_image(photos: Path) -> None:
    samples, settings = load_source(photos).splits["train"], config(photos.parent / "maps")
    plain = train_loader(samples, settings)
    plain.set_position(1)
    for first, second in zip(batches_of(samples, settings), plain, strict=True):
        assert torch.equal(first.images, second.images)
        assert second.prior is None


def test_streamed_images_have_their_maps(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    write_shards(load_source(photos), tmp_path / "shards", images_per_shard=5)
    shards = load_source(tmp_path / "shards").splits["train"]
    assert_aligned(batches_of(shards, config(photos.parent / "maps", augment="shift_flip", repeats=2)))


def test_a_map_that_breaks_during_training_is_left_out_with_its_image(photos: Path) -> None:
    samples, settings = load_source(photos).splits["train"], config(photos.parent / "maps")
    loader = train_loader(samples, settings, maps=PriorMaps.of(settings, samples))
    (photos.parent / "maps" / "cat" / "0.npy").unlink()
    with pytest.warns(UserWarning, match=r"left out cat/0\.png: .*0\.npy"):
        assert_aligned(list(loader))


def test_maps_are_read_only_where_the_prior_is_maps(photos: Path) -> None:
    samples, settings = load_source(photos).splits["train"], config(photos.parent / "missing")
    for changes in ({"ocm": {"prior": "border"}}, {"guide": {"enabled": False}}, {"ocm": {"enabled": False}}):
        assert PriorMaps.of(settings.updated(**changes), samples) is None
    with pytest.raises(DataError, match=r"no folder .*missing: expected the maps of data\.prior_maps"):
        PriorMaps.of(settings, samples)


def test_a_check_counts_and_hashes(photos: Path) -> None:
    samples, folder = load_source(photos).splits["train"], photos.parent / "maps"
    found = PriorMaps(folder, samples, 10**6).check()
    assert found.images == 12
    assert found.constant == ()
    assert PriorMaps(folder, samples[::-1], 10**6).check() == found
    np.save(folder / "cat" / "0.npy", np.full((5, 5), 3))
    again = PriorMaps(folder, samples, 10**6).check()
    assert again.constant == ("cat/0.png",)
    assert again.sha256 != found.sha256
    for path in folder.rglob("*.npy"):
        np.save(path, np.zeros((5, 5)))
    with pytest.raises(DataError, match=r"every map in .* is constant: expected higher values on the objects"):
        PriorMaps(folder, samples, 10**6).check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.array([[0, np.nan]]), "holds NaN or infinity: expected finite numbers"),
        (np.array([[0, -np.inf]]), "holds NaN or infinity"),
        (np.zeros((2, 5, 5)), r"has shape \(2, 5, 5\): expected one map \(h, w\)"),
        (np.zeros((201, 100)), "more than 20000: scale it down"),
        (np.array([[None]]), "is no array file"),
    ],
    ids=["nan", "infinity", "several", "huge", "pickle"],
)
def test_a_bad_map_fails_the_check(content: np.ndarray, message: str, photos: Path) -> None:
    path = photos.parent / "maps" / "dog" / "3.npy"
    np.save(path, content, allow_pickle=True)
    with pytest.raises(DataError, match=message) as caught:
        PriorMaps(photos.parent / "maps", load_source(photos).splits["train"], 20_000).check()
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_largest_numbers_are_scaled_too(tmp_path: Path) -> None:
    top = np.finfo(np.float64).max
    np.save(tmp_path / "a.npy", np.array([[-top, 0, top]]))
    samples = [Sample("a.png", tmp_path / "a.png", 0)]
    np.testing.assert_array_equal(PriorMaps(tmp_path, samples, 100).read(samples[0]), [[0, 0.5, 1]])
