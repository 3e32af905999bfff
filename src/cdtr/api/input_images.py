"""Images as a user gives them: paths, PIL images, arrays or tensors, decoded ahead of the network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.errors import DataError
from cdtr.image_files.paths import require_images
from cdtr.image_files.pixel_budget import ReadAheadBudget
from cdtr.image_files.reading import Admit, read_image, upright_rgb
from cdtr.parallel import map_in_order
from cdtr.text import one_line

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    import torch

ImageLike: TypeAlias = "str | Path | Image.Image | npt.NDArray[np.uint8] | torch.Tensor"
OnBroken: TypeAlias = Callable[[str, str], None]

_PIXELS_AHEAD = 64_000_000


def each_image(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Yield every single image of what a user calls images.

    Args:
        images: an image; a folder, for the images in it at any depth in natural order; an array (B, H, W, 3) or tensor
            (B, 3, H, W), for its B images; or any iterable of such.

    Raises:
        DataError: a folder has no images.
    """
    if isinstance(images, str | Path) and Path(images).is_dir():
        yield from require_images(Path(images))
    elif isinstance(images, str | Path | Image.Image) or not isinstance(images, Iterable):
        yield images
    elif isinstance(images, np.ndarray) or _is_tensor(images):
        array: Any = images
        yield from array if array.ndim == 4 else [array]
    else:
        for one in images:
            yield from each_image(one)


def image_name(image: ImageLike, index: int) -> str:
    """Return the id of an image: its path, or its number in the list where it has none."""
    return Path(image).as_posix() if isinstance(image, str | Path) else f"image-{index}"


def open_image(image: ImageLike, max_pixels: int, admit: Admit | None = None) -> Image.Image:
    """Return one image as an upright RGB image.

    Args:
        image: a path, PIL image, array or tensor.
        max_pixels: larger files are refused.
        admit: called with the number of pixels before they are copied; it may wait.

    Raises:
        DataError: the image cannot be read, or is none.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image), max_pixels, admit)
    if admit is not None:
        size: Any = image.size if isinstance(image, Image.Image) else getattr(image, "shape", (0,))
        admit(math.prod(size))
    if isinstance(image, Image.Image):
        return _decode(image)
    pixels = _tensor_pixels(image) if _is_tensor(image) else image
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        found = f"{image.dtype} {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
        raise DataError(
            "expected a path, a PIL image or a uint8 array (H, W, 3), or a tensor (3, H, W), uint8 or from 0 to 1, "
            f"found {found}: convert it first"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def _decode(image: Image.Image) -> Image.Image:
    """Decode a PIL image, whose file may not have been read yet."""
    try:
        return upright_rgb(image)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(
            f"a PIL image that cannot be decoded ({one_line(error)}): replace it or leave it out"
        ) from error


def _is_tensor(image: Any) -> bool:
    """Whether an image is a PyTorch tensor, without importing PyTorch."""
    return hasattr(image, "detach") and hasattr(image, "cpu")


def _tensor_pixels(image: Any) -> npt.NDArray[Any]:
    """Return a tensor (3, H, W) as a uint8 array (H, W, 3), and one of another shape as an array of that shape."""
    floats = image.is_floating_point()
    pixels: npt.NDArray[Any] = image.detach().cpu().float().numpy() if floats else image.cpu().numpy()
    if pixels.ndim != 3 or pixels.shape[0] != 3:
        return pixels
    if floats:
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise DataError("a float tensor with values outside 0 to 1: pass pixels before they are normalised")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    return pixels.transpose(1, 2, 0)


def read_ahead(
    items: Iterable[tuple[str, ImageLike]], max_pixels: int, ahead: int
) -> Iterator[tuple[str, Image.Image | DataError]]:
    """Decode images in threads and yield them in order, with the error in place of one that cannot be read.

    Args:
        items: (image id, image) pairs.
        max_pixels: larger images are refused.
        ahead: images decoded before they are needed, at most; ``_PIXELS_AHEAD`` bounds their pixels.
    """
    budget = ReadAheadBudget(_PIXELS_AHEAD)

    def read(numbered: tuple[int, tuple[str, ImageLike]]) -> tuple[str, Image.Image | DataError]:
        number, (image_id, image) = numbered
        try:
            return image_id, open_image(image, max_pixels, partial(budget.admit, number))
        except DataError as error:
            return image_id, error

    decoded = map_in_order(read, enumerate(items), min(4, ahead), ahead, on_wait=budget.want, on_close=budget.close)
    with closing(decoded):
        for number, image in enumerate(decoded):
            budget.take(number)
            yield image
