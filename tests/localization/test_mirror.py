"""The view ``mirrored``: an image and its mirror image get mirrored output, and it is the mean of both."""

import numpy as np
import torch
from PIL import Image

from cdtr.api import as_seen
from cdtr.config import Config, DataConfig
from cdtr.data.pixels import View
from cdtr.model.methods import build_method

CONFIG = Config().updated(
    method="catr",
    data={"input_size": (32, 48), "resize": (8, 8)},
    backbone={
        "name": "vit_tiny_patch16_224",
        "weights": "none",
        "overrides": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
    },
    ocm={"k": 2},
)


@torch.no_grad()
def test_it_averages_the_image_and_its_mirror_image():
    torch.manual_seed(0)
    method = build_method(CONFIG, 3).eval()
    images = torch.randn(2, 3, 32, 48)
    both = as_seen(method, View.of("mirrored", CONFIG.data)).eval()
    found, mirrored = both(images), both(images.flip(-1))
    plain, other = method(images), method(images.flip(-1))
    torch.testing.assert_close(found.logits, (plain.logits + other.logits) / 2)
    torch.testing.assert_close(found.maps, (plain.maps + other.maps.flip(-1)) / 2)
    torch.testing.assert_close(found.maps, mirrored.maps.flip(-1))
    torch.testing.assert_close(found.attention, mirrored.attention.flip(-1))
    torch.testing.assert_close(found.logits, mirrored.logits)
    assert not torch.allclose(found.maps, plain.maps)


def test_its_pixels_are_those_of_the_whole_image():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8))
    data = DataConfig(input_size=(32, 48), resize=(8, 8))  # of no use to either view
    whole, mirrored = (View.of(name, data) for name in ("whole", "mirrored"))
    np.testing.assert_array_equal(whole.pixels(image, data.mean, data.std), mirrored.pixels(image, data.mean, data.std))
    assert mirrored.field((50, 70)) is None
