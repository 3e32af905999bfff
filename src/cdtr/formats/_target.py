"""The input of every writer: where to write, and the boxes and masks of a localization."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cdtr.errors import DataError
from cdtr.records import Box, Localization, UInt8Array

Add: TypeAlias = Callable[[Localization], None]

# XML has no place for control characters, lists of names none for line ends, UTF-8 none for half a surrogate pair.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to write, and what is known beside the localizations.

    Attributes:
        path: The file or folder to write.
        class_names: The classes in the order of their indices.
        images_root: The folder that image ids are relative to; None if the images are not on disk.
        source: The model that found the boxes, for formats that say so.
        val_share: In formats that are data sets to train on, the share of the images to measure on.
        flat: In these formats, no folder lies below a split.
        copies: In these formats, images are copied rather than linked.

    Raises:
        DataError: A class has a name that cannot be written.
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


def can_be_written(name: str) -> bool:
    """Whether every format can hold a name: it has no control character and can be encoded as UTF-8."""
    return _UNWRITABLE.search(name) is None


def boxes_of(localization: Localization, class_names: Sequence[str]) -> list[Box]:
    """Return the boxes of an image in their order, with class and score.

    Raises:
        DataError: A class has no name, or the image id cannot be written.
    """
    if not can_be_written(localization.image_id):
        raise DataError(f"image {localization.image_id!a} holds a character that formats cannot hold: rename it")
    arrays = localization.boxes_xyxy, localization.labels, localization.scores
    boxes = []
    for xyxy, label, score in zip(*(array.tolist() for array in arrays), strict=True):
        if not 0 <= label < len(class_names):
            raise DataError(f"{localization.image_id} has class {label}, {len(class_names)} class names were given")
        boxes.append(Box(class_names[label], tuple(xyxy), label=label, score=score))
    return boxes


def masks_of(localization: Localization) -> UInt8Array:
    """Return the masks (N, H, W) of an image's boxes; raise DataError for a localization without them."""
    masks = localization.masks
    if masks is None or masks.shape != (len(localization.boxes_xyxy), *localization.size_hw):
        raise DataError(f"{localization.image_id} has no mask for each box: localize with masks")
    return masks
