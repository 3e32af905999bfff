"""PIL images to normalised tensors: augmented for training, as a view shows them for evaluation.

All randomness comes from torch's default generator, so that seeding it fixes an augmentation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from cdtr.config import DataConfig, ViewName
from cdtr.data.pixels import View
from cdtr.data.rand_augment import RandAugment
from cdtr.errors import ConfigError, DataError

_BILINEAR = v2.InterpolationMode.BILINEAR
_BICUBIC = v2.InterpolationMode.BICUBIC


class EvalTransform:
    """An RGB image to (3, H, W), as a view shows it, normalised; by default the whole image at ``input_size``."""

    def __init__(self, config: DataConfig, view: ViewName = "whole") -> None:
        self.view = View.of(view, config)
        self._mean, self._std = config.mean, config.std

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the normalised pixels (3, H, W) of an image."""
        if not isinstance(image, Image.Image):
            raise DataError(
                f"the transform takes a PIL image, found {type(image).__name__}: open it first, "
                "Image.open(path).convert('RGB')"
            )
        return torch.from_numpy(self.view.pixels(image, self._mean, self._std))


class TrainTransform:
    """An RGB image to (image, clean), each (3, H, W) and normalised, augmented as ``config.augment`` says.

    none: as in evaluation. flip: the same, mirrored half of the time. crop_flip: the paper's resize, random crop and
    flip. shift_flip: the whole image at the size that evaluation sees, moved by up to an eighth of its side, reflected
    at its borders, and flipped. resized_crop: for small data from scratch. official: what the released code does, with
    random erasing; only then is there a ``clean``, the same without erasing, and else it is None.
    """

    def __init__(self, config: DataConfig) -> None:
        moves, colours = _augmentation(config)
        self._move = v2.Compose(moves)
        self._finish = v2.Compose([*colours, *_normalise(config)])
        self._mode = config.augment
        self._erase = v2.RandomErasing(p=0.25, value="random") if config.augment == "official" else None

    def mirrors(self, seed: int) -> bool | None:
        """Whether the image is mirrored when torch's generator has this seed; None where more than that is drawn."""
        return bool(_uniform(torch.Generator().manual_seed(seed)) < 0.5) if self._mode == "flip" else None

    def __call__(self, image: Image.Image) -> tuple[Tensor, Tensor | None]:
        """Return the augmented pixels (3, H, W), and the same without erasing where a part was erased."""
        return self._finished(self._move(image))

    def with_map(self, image: Image.Image, prior: Image.Image | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Augment an image and a map of it alike, with the random draws of a call without a map.

        Args:
            image: RGB.
            prior: A map of the whole image, of any size and mode ``F``; None for none.

        Returns:
            As a call, and the map (H, W) float32, cropped and flipped as the image is.

        Raises:
            ConfigError: The augmentation ``official``, whose RandAugment warps the image alone.
        """
        if prior is None:
            return *self(image), None
        if self._mode == "official":
            raise ConfigError("data.augment official warps images, and maps cannot follow: use crop_flip")
        if self._mode == "resized_crop" and prior.size != image.size:  # its crop is in pixels of the source
            prior = prior.resize(image.size, Image.Resampling.BILINEAR)
        moved, moved_prior = self._move(image, prior)
        return *self._finished(moved), torch.from_numpy(np.array(moved_prior, dtype=np.float32))

    def _finished(self, moved: Image.Image) -> tuple[Tensor, Tensor | None]:
        clean = _plain(self._finish(moved))
        if self._erase is None:
            return clean, None
        return _plain(self._erase(clean)), clean


def denormalise(images: Tensor, config: DataConfig) -> Tensor:
    """Undo the normalisation of (..., 3, H, W); the result is clamped to [0, 1]."""
    mean = torch.tensor(config.mean, dtype=images.dtype, device=images.device).view(3, 1, 1)
    std = torch.tensor(config.std, dtype=images.dtype, device=images.device).view(3, 1, 1)
    return (images * std + mean).clamp(0, 1)


def _augmentation(config: DataConfig) -> tuple[list[Any], list[Any]]:
    """Return what moves the pixels of an image, and what changes their colours afterwards."""
    size, flip = config.input_size, v2.RandomHorizontalFlip()
    if config.augment == "crop_flip":
        if config.resize[0] < size[0] or config.resize[1] < size[1]:
            raise ConfigError(
                f"data.resize = {config.resize} is smaller than data.input_size = {size}: "
                "the crop of crop_flip needs it at least as large"
            )
        return [_resize(config.resize), v2.RandomCrop(size), flip], []
    if config.augment == "shift_flip":
        margins = [max(side // 8, 1) for side in size]
        # Left, top, right, bottom; reflection makes no edge that a prior on the image's border could see.
        padding = [margins[1], margins[0], margins[1], margins[0]]
        return [_resize(size), v2.Pad(padding, padding_mode="reflect"), v2.RandomCrop(size), flip], []
    if config.augment == "resized_crop":
        crop = v2.RandomResizedCrop(size, scale=(0.3, 1.0), interpolation=_BILINEAR, antialias=True)
        return [crop, flip], [v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)]
    if config.augment == "official":
        crop = v2.RandomResizedCrop(size, interpolation=_BICUBIC, antialias=True)
        return [crop, flip, RandAugment(config)], []
    return [_resize(size), _Flip()] if config.augment == "flip" else [_resize(size)], []


class _Flip(nn.Module):
    """Mirror half of the images; the generator's first number decides, so that a seed tells it."""

    def forward(self, *images: Any) -> Any:
        moved = images
        if _uniform(torch.default_generator) < 0.5:
            moved = tuple(v2.functional.horizontal_flip(image) for image in images)
        return moved if len(moved) > 1 else moved[0]


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _resize(size: tuple[int, int]) -> v2.Resize:
    return v2.Resize(list(size), interpolation=_BILINEAR, antialias=True)


def _normalise(config: DataConfig) -> list[Any]:
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=list(config.mean), std=list(config.std)),
    ]


def _plain(image: Tensor) -> Tensor:
    """Without torchvision's subclass, which is slower and pickles its class along."""
    return image.as_subclass(Tensor)
