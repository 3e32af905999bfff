"""What a user calls an image, decoded ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.data.images import read_image, upright_rgb
from cdtr.errors import DataError

ImageLike: TypeAlias = str | Path | Image.Image | npt.NDArray[np.uint8]
OnBroken: TypeAlias = Callable[[str, str], None]


def image_name(image: ImageLike, index: int) -> str:
    """The id of an image: its path, or its place in the list for one that lies nowhere."""
    return Path(image).as_posix() if isinstance(image, str | Path) else f"image-{index}"


def read_ahead(
    items: Iterable[tuple[str, ImageLike]], max_pixels: int, ahead: int
) -> Iterator[tuple[str, Image.Image | DataError]]:
    """Decode in threads, in order, never more than a batch ahead of the one in work."""

    def read(image: ImageLike) -> Image.Image | DataError:
        try:
            return _read(image, max_pixels)
        except DataError as error:
            return error

    pending: deque[tuple[str, Future[Image.Image | DataError]]] = deque()
    with ThreadPoolExecutor(min(4, ahead)) as pool:
        for image_id, image in items:
            pending.append((image_id, pool.submit(read, image)))
            if len(pending) > ahead:
                done_id, done = pending.popleft()
                yield done_id, done.result()
        while pending:
            done_id, done = pending.popleft()
            yield done_id, done.result()


def _read(image: ImageLike, max_pixels: int) -> Image.Image:
    if isinstance(image, str | Path):
        return read_image(Path(image), max_pixels)
    if isinstance(image, Image.Image):
        return upright_rgb(image)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"expected a path, a PIL image or a uint8 array (H, W, 3), found {found}: convert it first")
    return Image.fromarray(np.ascontiguousarray(image))
