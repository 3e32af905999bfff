"""What every format is told, and the boxes of a localization as the formats write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from cdtr.errors import DataError
from cdtr.records import Localization

Add: TypeAlias = Callable[[Localization], None]

# XML has no place for control characters, lists of names none for line ends, UTF-8 none for half a surrogate pair.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to write and what is known beside the localizations.

    images_root: the folder that image ids are relative to, None where the images lie nowhere. source: what found the
    boxes, for formats that say so. val_share, flat, copies: for formats that are data sets to train on, the share of
    the images to measure on, whether no folder lies below a split, and whether images are copied rather than linked.
    DataError for a class whose name cannot be written.
    """

    path: Path
    class_names: tuple[str, ...]
    images_root: Path | None = None
    source: str = "cdtr"
    val_share: float | None = None
    flat: bool = False
    copies: bool = False

    def __post_init__(self) -> None:
        for name in self.class_names:
            if not can_be_written(name):
                raise DataError(f"class {name!a} holds a character that formats of boxes cannot hold: rename it")


class Box(NamedTuple):
    """A half-open box in source pixels, with its class by number and name."""

    label: int
    name: str
    score: float
    xyxy: tuple[float, float, float, float]


def can_be_written(name: str) -> bool:
    """Whether every format can hold a name: it has no control character and can be written as UTF-8."""
    return _UNWRITABLE.search(name) is None


def boxes_of(localization: Localization, class_names: Sequence[str]) -> list[Box]:
    """The boxes in their order; DataError for a class without a name and an image id that cannot be written."""
    if not can_be_written(localization.image_id):
        raise DataError(f"image {localization.image_id!a} holds a character that formats cannot hold: rename it")
    arrays = localization.boxes_xyxy, localization.labels, localization.scores
    boxes = []
    for xyxy, label, score in zip(*(array.tolist() for array in arrays), strict=True):
        if not 0 <= label < len(class_names):
            raise DataError(f"{localization.image_id} has class {label}, {len(class_names)} class names were given")
        boxes.append(Box(label, class_names[label], score, tuple(xyxy)))
    return boxes
