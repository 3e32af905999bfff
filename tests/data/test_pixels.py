"""The pixels of exported models against torchvision, which evaluation used before and training uses still."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

from cdtr.config import DataConfig
from cdtr.data.pixels import View
from cdtr.data.transforms import EvalTransform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDES = st.integers(1, 70)


def by_torchvision(image: Image.Image, size_hw: tuple[int, int]) -> torch.Tensor:
    steps = [
        v2.Resize(list(size_hw), interpolation=v2.InterpolationMode.BILINEAR, antialias=True),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(MEAN), list(STD)),
    ]
    found: torch.Tensor = v2.Compose(steps)(image)
    return found


@settings(max_examples=60, deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), st.integers(0, 2**32 - 1))
def test_every_bit_is_torchvisions(source_hw: tuple[int, int], size_hw: tuple[int, int], seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (*source_hw, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    found = View("whole", size_hw, size_hw).pixels(image, MEAN, STD)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, by_torchvision(image, size_hw).numpy())


@pytest.mark.parametrize("size_hw", [(480, 640), (48, 32)], ids=["as it is", "shrunk"])
def test_evaluation_sees_the_same_pixels(size_hw: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8))
    config = DataConfig(input_size=size_hw, mean=MEAN, std=STD)
    assert torch.equal(EvalTransform(config)(image), by_torchvision(image, size_hw).as_subclass(torch.Tensor))
