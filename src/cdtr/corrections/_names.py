"""Which of our images a reviewed one is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from cdtr.corrections._boxes import BoxFile, ImageBoxes
from cdtr.errors import DataError

_DRIVE = re.compile(r"^[A-Za-z]:")


def match_images(written: Mapping[str, ImageBoxes], reviewed: BoxFile, where: str) -> tuple[dict[str, ImageBoxes], int]:
    """Reviewed images by the name that we gave them, and the number of those that are none of ours.

    A name meets one of ours if it is the same, or if one is the end of the other, as tools add or drop folders.
    DataError for a name that leaves the folder, one that may be two images, and an image that comes twice.
    """
    index = _Index(written)
    found: dict[str, ImageBoxes] = {}
    unknown = 0
    for image in reviewed.images:
        matches = (index.find(name, where) for name in image.names)
        image_id = next((match for match in matches if match is not None), None)
        if image_id is None:
            unknown += 1
            continue
        if image_id in found:
            raise DataError(f"{where} has {image_id} twice: keep one of them")
        ours = written[image_id].size_hw
        if None not in (ours, image.size_hw) and ours != image.size_hw:
            shown = " and ".join(f"{size[1]} x {size[0]}" for size in (image.size_hw, ours) if size is not None)
            raise DataError(f"{where}: {image_id} has {shown} pixels there and here: expected the same image")
        found[image_id] = image
    if not found:
        raise DataError(
            f"{where} has {len(reviewed.images)} reviewed images, none of them of the {len(written)} that were "
            f"localized, such as {next(iter(written), 'none')!r}: point --boxes at the boxes that were reviewed"
        )
    return found, unknown


class _Index:
    """Our image ids, to be found by the end of their path."""

    def __init__(self, image_ids: Iterable[str]) -> None:
        self._ids = frozenset(image_ids)
        self._by_base: dict[str, list[PurePosixPath]] = {}
        for image_id in sorted(self._ids):
            self._by_base.setdefault(PurePosixPath(image_id).name, []).append(PurePosixPath(image_id))

    def find(self, name: str, where: str) -> str | None:
        if name in self._ids:
            return name
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or _DRIVE.match(name):
            raise DataError(f"{where}: image {name!r:.100} points outside the folder: expected a path below it")
        matches = [ours for ours in self._by_base.get(path.name, ()) if _ends_alike(ours.parts, path.parts)]
        # Of ours that the name ends with the longest: day/a.jpg is meant by photos/day/a.jpg, not a.jpg.
        whole = [ours for ours in matches if len(ours.parts) <= len(path.parts)]
        if whole:
            return max(whole, key=lambda ours: len(ours.parts)).as_posix()
        if len(matches) > 1:
            raise DataError(f"{where}: image {name!r:.100} may be {matches[0]} or {matches[1]}: give more of its path")
        return matches[0].as_posix() if matches else None


def _ends_alike(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    count = min(len(first), len(second))
    return first[-count:] == second[-count:]
