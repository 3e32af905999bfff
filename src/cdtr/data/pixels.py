"""A picture as the model sees it, without PyTorch: what evaluation and exported models share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image


def eval_pixels(
    image: Image.Image, size_hw: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> npt.NDArray[np.float32]:
    """An RGB picture to (3, H, W) float32: the whole picture resized, no crop, scaled to [0, 1], normalised.

    Pillow's bilinear resize widens its filter when it shrinks a picture, which torchvision calls antialiasing; the
    order of the operations is torchvision's, so that the values are the same to the last bit.
    """
    height, width = size_hw
    resized = image.resize((width, height), Image.Resampling.BILINEAR) if image.size != (width, height) else image
    pixels = np.asarray(resized).transpose(2, 0, 1).astype(np.float32, order="C")
    pixels *= np.float32(1 / 255)
    pixels -= np.array(mean, dtype=np.float32)[:, None, None]
    pixels /= np.array(std, dtype=np.float32)[:, None, None]
    return pixels
