"""The views: their pixels against torchvision, their geometry by hand, and one scale in training and testing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from cdtr.config import Config, DataConfig
from cdtr.data.pixels import View
from cdtr.data.transforms import EvalTransform, TrainTransform
from cdtr.errors import ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def released_view(image: Image.Image) -> torch.Tensor:
    """The transform with which CDTR's released code tests, in torchvision's words."""
    steps = [
        v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
        v2.CenterCrop(224),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(MEAN), list(STD)),
    ]
    found: torch.Tensor = v2.Compose(steps)(image)
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(40, 500), st.integers(40, 500), st.integers(0, 2**32 - 1))
def test_crop_is_the_released_view_to_the_last_bit(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    found = View("crop", (224, 224), (256, 256)).pixels(image, MEAN, STD)
    np.testing.assert_array_equal(found, released_view(image).numpy())


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((256, 256), (16, 16, 240, 240)),
        ((512, 512), (32, 32, 480, 480)),
        ((256, 512), (144, 16, 368, 240)),
        ((512, 256), (16, 144, 240, 368)),
        # 300 x 451 is resized to 256 x 384 (451 * 256 / 300 = 384.85, cut off); the crop starts at 80 of 384.
        ((300, 451), (80 * 451 / 384, 16 * 300 / 256, 304 * 451 / 384, 240 * 300 / 256)),
    ],
    ids=["exact", "twice", "wide", "high", "uneven"],
)
def test_field_of_the_crop_by_hand(size_hw: tuple[int, int], expected: tuple[float, ...]) -> None:
    assert View("crop", (224, 224), (256, 256)).field(size_hw) == pytest.approx(expected)
    assert View("whole", (224, 224), (256, 256)).field(size_hw) is None
    assert View("tiled", (224, 224), (256, 256)).field(size_hw) is None


@pytest.mark.parametrize("size", [(20000, 20), (10, 60000)], ids=["wide", "high"])
def test_a_slim_image_costs_no_more_than_others(size: tuple[int, int]) -> None:
    """Resized whole to a short side of 256 it would have 65 million pixels or more; its middle is what counts."""
    image = Image.new("RGB", size, (200, 0, 0))
    width, height = size
    image.paste((0, 200, 0), (width // 2 - 40, height // 2 - 40, width // 2 + 40, height // 2 + 40))
    found = View("crop", (224, 224), (256, 256)).pixels(image, (0, 0, 0), (1, 1, 1))
    assert found.shape == (3, 224, 224)
    np.testing.assert_allclose(found[:, 112, 112], [0, 200 / 255, 0], atol=0.02)


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("crop", ((64, 64), (60, 60)), "view crop takes crops of .*make data.resize at least as large"),
        ("tiled", ((64, 64), (64, 60)), "view tiled takes crops of "),
        ("crop", ((64, 96), (96, 96)), "view crop needs a square data.input_size"),
    ],
)
def test_sizes_that_a_view_cannot_have_are_refused(name: str, sizes: tuple[tuple[int, int], ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        View(name, *sizes)  # type: ignore[arg-type]


def bar(side: int, share: float) -> Image.Image:
    """A white vertical bar over the whole height of a black square, ``share`` of its width wide, in the middle."""
    pixels = np.zeros((side, side, 3), dtype=np.uint8)
    low = round(side * (1 - share) / 2)
    pixels[:, low : side - low] = 255
    return Image.fromarray(pixels)


def bar_width(seen: torch.Tensor) -> float:
    """Width in pixels of the bar in (3, H, W): brightness summed over a row."""
    return float(seen[0].mean(dim=0).sum())


SIDE, SHARE = 640, 0.25


@pytest.mark.parametrize("augment", ["crop_flip", "none", "shift_flip"])
def test_training_and_its_views_show_an_object_at_one_size(augment: str) -> None:
    """crop and tiled show what crop_flip trains on; the recipes without a gap train at the scale of whole."""
    gap = augment == "crop_flip"
    config = DataConfig(input_size=(64, 64), resize=(80, 80) if gap else (64, 64), augment=augment, **PLAIN)
    image, transform = bar(SIDE, SHARE), TrainTransform(config)
    trained = float(np.mean([bar_width(transform(image)[0]) for _ in range(8)]))
    views = ["crop", "tiled"] if gap else ["whole", "crop", "tiled"]
    for name in views:
        assert bar_width(EvalTransform(config, name)(image)) == pytest.approx(trained, abs=0.15), name
    whole = bar_width(EvalTransform(config, "whole")(image))
    assert whole == pytest.approx(SHARE * 64, abs=0.15)
    assert (abs(whole - trained) > 3) is gap


def test_the_recipes_for_training_from_scratch_test_at_the_scale_of_training() -> None:
    """Of the presets that extend ``small``: what their own view shows is, on average, as large as in training."""
    from cdtr.config import load_config, preset_names

    small = [name for name in preset_names() if load_config(name).guide.enabled]
    assert {"small", "quickstart", "neu-det-small", "cub-50-small"} <= set(small)
    for name in small:
        config: Config = load_config(name)
        data = config.data.model_copy(update=PLAIN)
        image, transform = bar(SIDE, SHARE), TrainTransform(data)
        trained = float(np.mean([bar_width(transform(image)[0]) for _ in range(100)]))
        seen = bar_width(EvalTransform(data, config.evaluation.view)(image))
        assert seen == pytest.approx(trained, rel=0.04), name
