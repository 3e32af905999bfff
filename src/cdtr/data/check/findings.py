"""A finding and its kinds: those that spoil a training or a score, and those that are good to know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cdtr.errors import ConfigError


class Kind(NamedTuple):
    """serious: it would spoil a training or a score. about: what it says, for the help."""

    serious: bool
    about: str


KINDS: Mapping[str, Kind] = {
    "reading": Kind(True, "what reading the set warned of: empty class folders, boxes of images that are not there"),
    "missing": Kind(True, "images that the set lists and that are not there"),
    "empty": Kind(True, "image files of 0 bytes"),
    "broken": Kind(True, "image files that cannot be decoded to the end"),
    "too-large": Kind(True, "images of more than data.max_pixels"),
    "class-empty": Kind(True, "classes without a readable image to train on"),
    "copies-across": Kind(True, "files that lie in two splits, byte for byte"),
    "near-across": Kind(True, "images that lie in two splits, re-encoded, resized or brightened"),
    "labels-differ": Kind(True, "one image under several classes"),
    "boxes-unreadable": Kind(True, "annotations that cannot be read"),
    "boxes-empty": Kind(True, "boxes without an inside"),
    "boxes-outside": Kind(
        True, "boxes with more than a twentieth of their area outside of the image, or that start before it"
    ),
    "boxes-overhang": Kind(
        False, "boxes that reach over the right or lower edge by less than that, but by over a pixel"
    ),
    "boxes-missing": Kind(False, "images without a box in a split that has some"),
    "boxes-easy": Kind(False, "splits where a box that never looks at the image hits three images of four"),
    "class-missing": Kind(False, "classes without images in a split that is not for training"),
    "imbalance": Kind(False, "ten times as many training images in one class as in another"),
    "copies-within": Kind(False, "files that lie in one split several times"),
    "near-within": Kind(False, "images that lie in one split several times, re-encoded, resized or brightened"),
    "modes-mixed": Kind(False, "colour and grey images, or images with transparency, side by side"),
    "sizes-extreme": Kind(False, "images of less than 32 pixels a side, or more than four times as long as wide"),
    "no-object": Kind(False, "classes whose names say that their images have no object, with data.empty_classes unset"),
    "no-scores": Kind(False, "no split val or test: scores will come from held-out training images"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for people, and all that it is about by image id (several ids of one image joined by " = ")."""

    kind: str
    message: str
    items: tuple[str, ...] = ()

    @property
    def serious(self) -> bool:
        """Whether training or scores suffer from it."""
        return KINDS[self.kind].serious


def require_kinds(names: Iterable[str]) -> None:
    """ConfigError for a name that is no kind of finding, with the nearest one."""
    for name in names:
        if name not in KINDS:
            close = difflib.get_close_matches(name, KINDS, n=1)
            hint = f", did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"unknown kind of finding {name!r}{hint}; choose of {', '.join(KINDS)}")


def joined(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def counted(count: int, what: str = "image") -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
