"""Unique names for files beside images, where a format needs the image's name without its suffix."""

from __future__ import annotations

import unicodedata
from itertools import chain, count
from pathlib import PurePosixPath

from cdtr.errors import DataError


class Stems:
    """Gives each image id a unique name, folders included, in the order of the calls.

    ``dir/a.jpg`` gets ``dir/a``; if that is taken, as by ``dir/a.png``, it gets the whole id ``dir/a.jpg``. Names that
    differ in capitals or in how accents are coded count as one, because some disks hold only one of them.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def name(self, image_id: str) -> str:
        """Return the name for an image; raise DataError for an id that leaves the folder of the images."""
        path = PurePosixPath(image_id)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise DataError(f"image {image_id!r}: expected a path below the folder of the images")
        whole = path.as_posix()
        candidates = chain([path.with_suffix("").as_posix(), whole], (f"{whole}-{number}" for number in count(2)))
        found = next(candidate for candidate in candidates if _key(candidate) not in self._taken)
        self._taken.add(_key(found))
        return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
