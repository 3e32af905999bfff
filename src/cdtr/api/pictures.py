"""What a user calls an image, decoded ahead of the network."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.data.files import require_images
from cdtr.data.images import Admit, read_image, upright_rgb
from cdtr.data.pixel_budget import ReadAheadBudget
from cdtr.errors import DataError

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    import torch

ImageLike: TypeAlias = "str | Path | Image.Image | npt.NDArray[np.uint8] | torch.Tensor"
OnBroken: TypeAlias = Callable[[str, str], None]

_PIXELS_AHEAD = 64_000_000


def each_image(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Every single image of what a user calls images.

    A folder stands for the images in it at any depth, in natural order, an array (B, H, W, 3) or tensor (B, 3, H, W)
    for its B images, any iterable for what it holds, one after the other. DataError for a folder without images.
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
    """The id of an image: its path, or its place in the list for one that lies nowhere."""
    return Path(image).as_posix() if isinstance(image, str | Path) else f"image-{index}"


def open_picture(image: ImageLike, max_pixels: int, admit: Admit | None = None) -> Image.Image:
    """An upright RGB picture of one image; DataError for what cannot be read or is none.

    admit: called with its number of pixels before there is a copy of them; it may wait.
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
    """A PIL image, whose file may be read only now."""
    try:
        return upright_rgb(image)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"a PIL image that cannot be decoded ({reason}): replace it or leave it out") from error


def _is_tensor(image: Any) -> bool:
    """Whether it is a tensor of PyTorch, which may not be installed."""
    return hasattr(image, "detach") and hasattr(image, "cpu")


def _tensor_pixels(image: Any) -> npt.NDArray[Any]:
    """A tensor (3, H, W) as uint8 (H, W, 3); others as they are."""
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
    """Decode in threads, in order, at most ``ahead`` images and ``_PIXELS_AHEAD`` pixels before they are needed."""
    budget = ReadAheadBudget(_PIXELS_AHEAD)

    def read(number: int, image: ImageLike) -> Image.Image | DataError:
        try:
            return open_picture(image, max_pixels, partial(budget.admit, number))
        except DataError as error:
            return error

    pending: deque[tuple[int, str, Future[Image.Image | DataError]]] = deque()

    def first() -> tuple[str, Image.Image | DataError]:
        number, image_id, done = pending.popleft()
        budget.want(number)
        picture = done.result()
        budget.take(number)
        return image_id, picture

    with ThreadPoolExecutor(min(4, ahead)) as pool:
        try:
            for number, (image_id, image) in enumerate(items):
                pending.append((number, image_id, pool.submit(read, number, image)))
                if len(pending) > ahead:
                    yield first()
            while pending:
                yield first()
        finally:  # the caller may want no more, while threads wait for their turn
            budget.close()
            for _, _, left in pending:
                left.cancel()
