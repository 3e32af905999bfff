"""Which image a file means by a name: the one matcher that all readers of boxes share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TypeAlias

from cdtr.errors import DataError

Parts: TypeAlias = tuple[str, ...]

_UPLOADED = re.compile(r"^[0-9a-f]{8}(?:-|__)")  # Label Studio's own prefix of files that it stores
_ROBOFLOW = re.compile(r"^(?P<stem>.+)_(?P<suffix>jpe?g|png|bmp|webp|tiff?)\.rf\.[0-9A-Za-z]+(?:\.[A-Za-z]+)?$")
_DRIVE = re.compile(r"^[A-Za-z]:")
_SUFFIX = re.compile(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{1,4}$")


def fold_name(name: str) -> str:
    """A name without regard to capitals, to how accents are coded and to blanks around it."""
    return unicodedata.normalize("NFC", name).casefold().strip()


def relative_name(name: str, where: str, what: str = "the data set") -> str:
    """A name with slashes; DataError for one that is absolute or leads out of what it is in."""
    path = PurePosixPath(name.strip().replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or _DRIVE.match(name.strip()):
        raise DataError(f"{where}: image {name!r:.100} points outside {what}: expected a path below it")
    return path.as_posix()


def ends_alike(first: Parts, second: Parts) -> bool:
    """Whether the shorter path is the end of the longer one."""
    count = min(len(first), len(second))
    return first[-count:] == second[-count:]


def exported_names(name: str) -> tuple[str, ...]:
    """List what an image may be called that a tool exported under a name of its own.

    Leading ``../`` are left out: tools write paths as seen from a folder of theirs, and a name only finds one of our
    images by the end of its path.

    Returns:
        The name itself, then the names within it: without the prefix that Label Studio gives uploaded files, and
        without the suffix that Roboflow gives its copies.
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


class NameIndex:
    """Image ids, to be found by the names that files of other programs give them.

    A name meets an id if they are equal, or if one is the end of the other, as programs add and drop folders. Exact
    names go first, then those that differ in how accents are coded, in capitals, and last in the suffix.
    """

    def __init__(self, image_ids: Iterable[str]) -> None:
        self._ids = frozenset(image_ids)
        self._levels: list[dict[str, list[tuple[Parts, str]]] | None] = [None] * len(_LEVELS)

    def find(self, name: str) -> list[str]:
        """The ids that a name may mean, in order; of ids that it ends with, the longest one alone."""
        if name in self._ids:
            return [name]
        parts = PurePosixPath(name).parts
        if not parts:
            return []
        for number, (of_id, of_name) in enumerate(_LEVELS):
            asked = of_name(parts)
            found = [
                (ours, one) for ours, one in self._level(number, of_id).get(asked[-1], ()) if ends_alike(ours, asked)
            ]
            whole = [(ours, one) for ours, one in found if len(ours) <= len(asked)]
            if whole:  # day/a.jpg is meant by photos/day/a.jpg, not a.jpg
                longest = max(len(ours) for ours, _ in whole)
                return sorted(one for ours, one in whole if len(ours) == longest)
            if found:
                return sorted(one for _, one in found)
        return []

    def find_one(self, name: str, where: str) -> str | None:
        """Return the id that a name means, None if there is none; raise DataError if it may be several."""
        matches = self.find(name)
        if len(matches) > 1:
            raise DataError(f"{where}: {name!r} may be {matches[0]} or {matches[1]}, give more of the path")
        return matches[0] if matches else None

    def _level(self, number: int, key: Callable[[Parts], Parts]) -> dict[str, list[tuple[Parts, str]]]:
        """The ids by the last part of their path; made once it is asked for, as exact names are the rule."""
        level = self._levels[number]
        if level is None:
            level = self._levels[number] = {}
            for one in self._ids:
                parts = key(PurePosixPath(one).parts)
                level.setdefault(parts[-1], []).append((parts, one))
        return level


def _as_is(parts: Parts) -> Parts:
    return parts


def _normal(parts: Parts) -> Parts:
    return tuple(unicodedata.normalize("NFC", part) for part in parts)


def _folded(parts: Parts) -> Parts:
    return tuple(fold_name(part) for part in parts)


def _stem(parts: Parts) -> Parts:
    *folders, base = _folded(parts)
    return (*folders, _SUFFIX.sub("", base))


# How an id and how a name is looked at, the strictest first; a name may lack the suffix or have another one.
_LEVELS: tuple[tuple[Callable[[Parts], Parts], Callable[[Parts], Parts]], ...] = (
    (_as_is, _as_is),
    (_normal, _normal),
    (_folded, _folded),
    (_stem, _folded),
    (_stem, _stem),
)
