"""Which of our images a reviewed one is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from cdtr.corrections._boxes import BoxFile, ImageBoxes
from cdtr.corrections._pixels import in_pixels
from cdtr.errors import DataError

_DRIVE = re.compile(r"^[A-Za-z]:")
_UPLOADED = re.compile(r"^[0-9a-f]{8}(?:-|__)")  # Label Studio's own prefix of files that it stores
_ROBOFLOW = re.compile(r"^(?P<stem>.+)_(?P<suffix>jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9A-Za-z]+(?:\.[A-Za-z]+)?$")


def exported_names(name: str) -> tuple[str, ...]:
    """What an image may be called that a tool exported under a name of its own: that name, and ours within it.

    Leading ``../`` are left out: tools write paths as seen from a folder of theirs, and a name only finds one of our
    images by the end of its path.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    parts = list(path.parts)
    while parts and parts[0] == "..":
        parts.pop(0)
    if not parts:
        return (name,)
    *folders, base = parts
    found = [base]
    if _UPLOADED.match(base):
        found.append(_UPLOADED.sub("", base))
    roboflow = _ROBOFLOW.match(base)
    if roboflow:
        found.append(f"{roboflow['stem']}.{roboflow['suffix']}")
    return tuple(PurePosixPath(*folders, one).as_posix() for one in found)


def match_images(written: Mapping[str, ImageBoxes], reviewed: BoxFile, where: str) -> tuple[dict[str, ImageBoxes], int]:
    """Reviewed images by the name that we gave them, and the number of those that are none of ours.

    A name meets one of ours if it is the same, or if one is the end of the other, as tools add or drop folders.
    DataError for a name that leaves the folder, one that may be two images, and an image that comes twice.
    """
    index = _Index(written)
    matches = [index.find_any(image.names, where) for image in reviewed.images]
    if None in matches and any(image.bare for image in reviewed.images):
        # Of a.jpg and a.png one may keep its suffix in a format without suffixes, and the other has the name a.
        taken = set(matches)
        left = _BareIndex([image_id for image_id in written if image_id not in taken])
        matches = [
            left.find_any(image.names, where) if match is None and image.bare else match
            for match, image in zip(matches, reviewed.images, strict=True)
        ]
    found: dict[str, ImageBoxes] = {}
    unknown = 0
    for image, image_id in zip(reviewed.images, matches, strict=True):
        if image_id is None:
            unknown += 1
            continue
        if image_id in found:
            raise DataError(f"{where} has {image_id} twice: keep one of them")
        ours = written[image_id].size_hw
        image = in_pixels(image, ours, where)
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

    def find_any(self, names: Iterable[str], where: str) -> str | None:
        """Our image of the first of several names that means one."""
        return next((found for name in names if (found := self.find(name, where)) is not None), None)

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


class _BareIndex:
    """Our image ids, to be found by names without suffix, as formats have them that write a file an image."""

    def __init__(self, image_ids: Iterable[str]) -> None:
        self._owners: dict[str, list[str]] = {}
        for image_id in image_ids:
            self._owners.setdefault(PurePosixPath(image_id).with_suffix("").as_posix(), []).append(image_id)
        self._index = _Index(self._owners)

    def find_any(self, names: Iterable[str], where: str) -> str | None:
        """Our image of the first of several names that means one; DataError for a name of two images."""
        key = self._index.find_any(names, where)
        if key is None:
            return None
        first, *more = self._owners[key]
        if more:
            raise DataError(f"{where}: image {key!r:.100} may be {first} or {more[0]}: give one of them its suffix")
        return first


def _ends_alike(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    count = min(len(first), len(second))
    return first[-count:] == second[-count:]
