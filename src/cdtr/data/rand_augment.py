"""RandAugment as the released code takes it from timm, with torch's random numbers."""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image

from cdtr.config import DataConfig

_RECIPE = "rand-m9-mstd0.5-inc1"
_SHIFT = 0.45  # most that an image is moved, of the shorter side of the input


class RandAugment:
    """timm's ``rand-m9-mstd0.5-inc1``: bicubic, and what is uncovered gets the mean colour of ``data.mean``.

    timm draws from the global generators of Python and NumPy. They are seeded from torch's for the call and then put
    back, so that an augmentation depends on torch's seed alone and nothing else is disturbed.
    """

    def __init__(self, config: DataConfig) -> None:
        from timm.data.auto_augment import rand_augment_transform  # heavy, and only this augmentation needs it

        settings = {
            "translate_const": int(min(config.input_size) * _SHIFT),
            "img_mean": tuple(min(255, round(255 * channel)) for channel in config.mean),
            "interpolation": Image.Resampling.BICUBIC,
        }
        self._augment = rand_augment_transform(_RECIPE, settings)

    def __call__(self, image: Image.Image) -> Image.Image:
        """Augment an image with draws that depend on torch's random state alone."""
        seed = int(torch.randint(2**32, ()))
        of_python, of_numpy = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        try:
            augmented: Image.Image = self._augment(image)
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
        return augmented
