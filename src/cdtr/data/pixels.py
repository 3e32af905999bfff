"""What the network sees of an image, without PyTorch: what evaluation and exported models share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.config import DataConfig, ViewName
from cdtr.errors import ConfigError
from cdtr.records import Field

_SLIMMEST = 32  # times as long as wide: of a slimmer image the ends are cut off before it is resized for a crop


@dataclass(frozen=True, slots=True)
class View:
    """Which part of an image the network sees, and at which scale.

    whole: the image resized to ``input_hw``, whatever its proportions. mirrored: the same, and its mirror image, which
    ``cdtr.localization.mirror`` adds. crop: the short side resized to ``min(resize_hw)`` (bicubic), then the central
    ``input_hw``, as CDTR's released code tests. tiled: the image resized to ``resize_hw``, from which
    ``cdtr.localization.tiles`` cuts crops of ``input_hw`` and stitches their maps. Where training crops ``input_hw``
    from ``resize_hw``, crop and tiled show objects at the size of training.
    """

    name: ViewName
    input_hw: tuple[int, int]
    resize_hw: tuple[int, int]

    def __post_init__(self) -> None:
        if self.name in {"crop", "tiled"} and (
            self.resize_hw[0] < self.input_hw[0] or self.resize_hw[1] < self.input_hw[1]
        ):
            raise ConfigError(
                f"view {self.name} takes crops of data.input_size = {self.input_hw} from images resized to data.resize "
                f"= {self.resize_hw}, which is smaller: make data.resize at least as large, or use view whole"
            )
        if self.name == "crop" and self.input_hw[0] != self.input_hw[1]:
            raise ConfigError(f"view crop needs a square data.input_size, found {self.input_hw}: use whole or tiled")

    @classmethod
    def of(cls, name: ViewName, data: DataConfig) -> View:
        """The view of that name at the sizes of a run's data settings."""
        return cls(name, data.input_size, data.resize)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of ``pixels``."""
        return self.resize_hw if self.name == "tiled" else self.input_hw

    def field(self, size_hw: tuple[int, int]) -> Field | None:
        """The part of a source image of ``size_hw`` that the network sees, in its pixels; None for all of it."""
        if self.name != "crop":
            return None
        resized = self._resized_hw(size_hw)
        left, top, right, bottom = self._crop_box(resized)
        x, y = size_hw[1] / resized[1], size_hw[0] / resized[0]
        return left * x, top * y, right * x, bottom * y

    def pixels(self, image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
        """An RGB image to (3, H, W) float32 of ``size_hw``, scaled to [0, 1] and normalised."""
        if self.name != "crop":
            return normalised_pixels(_resize(image, self.size_hw, Image.Resampling.BILINEAR), mean, std)
        if max(image.size) > _SLIMMEST * min(image.size):
            image = _middle(image, _SLIMMEST * min(image.size))
        resized = self._resized_hw((image.height, image.width))
        seen = _resize(image, resized, Image.Resampling.BICUBIC).crop(self._crop_box(resized))
        return normalised_pixels(seen, mean, std)

    def _resized_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """The size before the crop; the long side is cut off to a whole number, as torchvision does."""
        side, short = min(self.resize_hw), min(size_hw)
        return int(side * size_hw[0] / short), int(side * size_hw[1] / short)

    def _crop_box(self, resized_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the crop, rounded as torchvision's centre crop rounds."""
        height, width = self.input_hw
        top, left = round((resized_hw[0] - height) / 2), round((resized_hw[1] - width) / 2)
        return left, top, left + width, top + height


def _middle(image: Image.Image, longest: int) -> Image.Image:
    """The middle of an image whose long side is cut to ``longest`` pixels."""
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _resize(image: Image.Image, size_hw: tuple[int, int], filtered: Image.Resampling) -> Image.Image:
    size = size_hw[1], size_hw[0]
    return image.resize(size, filtered) if image.size != size else image


def normalised_pixels(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
    """An RGB image to (3, H, W) float32, scaled to [0, 1] and normalised.

    Pillow's resize widens its filter when it shrinks an image, which torchvision calls antialiasing; the order of the
    operations is torchvision's, so that the values are the same to the last bit.
    """
    pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
    pixels *= np.float32(1 / 255)
    pixels -= np.array(mean, dtype=np.float32)[:, None, None]
    pixels /= np.array(std, dtype=np.float32)[:, None, None]
    return pixels
