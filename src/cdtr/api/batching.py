"""Pictures in batches that memory holds: so many, or so many pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from PIL import Image

from cdtr.api.pictures import OnBroken
from cdtr.errors import DataError
from cdtr.records import Localization

# A map of a picture's size takes as much memory as the picture, and several times that while boxes are found in it.
# So the workers share this many pixels, and as many wait for the caller; a larger picture is taken alone.
PIXELS_AT_WORK = 64_000_000


def pixels_of(*batches: list[Image.Image]) -> int:
    return sum(picture.width * picture.height for pictures in batches for picture in pictures)


def finished(
    pictures: list[Image.Image], answers: Future[list[Localization]]
) -> Iterator[tuple[Image.Image, Localization]]:
    return zip(pictures, answers.result(), strict=True)


def batches_of(
    read: Iterable[tuple[str, Image.Image | DataError]], size: int, on_broken: OnBroken | None, most_pixels: int
) -> Iterator[tuple[list[str], list[Image.Image]]]:
    """Ids and pictures, ``size`` at a time or up to ``most_pixels``, at least one; what could not be read
    goes to ``on_broken``, or is raised."""
    ids: list[str] = []
    pictures: list[Image.Image] = []
    pixels = 0
    for image_id, picture in read:
        if isinstance(picture, DataError):
            if on_broken is None:
                raise picture
            on_broken(image_id, str(picture))
            continue
        here = picture.width * picture.height
        if ids and pixels + here > most_pixels:
            yield ids, pictures
            ids, pictures, pixels = [], [], 0
        ids.append(image_id)
        pictures.append(picture)
        pixels += here
        if len(ids) == size:
            yield ids, pictures
            ids, pictures, pixels = [], [], 0
    if ids:
        yield ids, pictures
