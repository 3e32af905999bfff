"""Images in batches that fit into memory: so many, or so many pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from PIL import Image

from cdtr.api.input_images import OnBroken
from cdtr.errors import DataError
from cdtr.localization.tile_grid import Tiling

# A map of an image's size takes as much memory as the image, and several times that while boxes are found in it. So the
# workers share this many pixels, and as many wait for the caller; a larger image is taken alone.
PIXELS_AT_WORK = 64_000_000


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Images of one forward pass, RGB, with their ids."""

    ids: list[str] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)

    @property
    def pixels(self) -> int:
        """The pixels of all images together."""
        return sum(image.width * image.height for image in self.images)


def exceeds_pixels(batches: Sequence[ImageBatch]) -> bool:
    """Whether batches, in work or waiting for the caller, hold more pixels than memory allows."""
    return sum(batch.pixels for batch in batches) > 2 * PIXELS_AT_WORK


def batches_of(
    read: Iterable[tuple[str, Image.Image | DataError]], size: int, on_broken: OnBroken | None, most_pixels: int
) -> Iterator[ImageBatch]:
    """Group images into batches.

    Args:
        read: (image id, image or the error that it met) pairs.
        size: images a batch, at most.
        on_broken: takes the id and the reason of an image that could not be read; None raises the error.
        most_pixels: pixels a batch, at most; a larger image is alone in its batch.
    """
    batch, pixels = ImageBatch(), 0
    for image_id, image in read:
        if isinstance(image, DataError):
            if on_broken is None:
                raise image
            on_broken(image_id, str(image))
            continue
        here = image.width * image.height
        if batch.ids and pixels + here > most_pixels:
            yield batch
            batch, pixels = ImageBatch(), 0
        batch.ids.append(image_id)
        batch.images.append(image)
        pixels += here
        if len(batch.ids) == size:
            yield batch
            batch, pixels = ImageBatch(), 0
    if batch.ids:
        yield batch


def few_tiles(
    read: Iterable[tuple[str, Image.Image | DataError]], tiling: Tiling | None
) -> Iterator[tuple[str, Image.Image | DataError]]:
    """Yield (image id, image or error) pairs with an error in the place of an image of too many tiles."""
    for image_id, image in read:
        fault = None if tiling is None or isinstance(image, DataError) else tiling.fault((image.height, image.width))
        yield image_id, image if fault is None else DataError(f"{image_id}: {fault}")
