"""Conversion to pixels from 0 of boxes in fractions of an image, or in pixels that may count from 0 or 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cdtr.errors import DataError
from cdtr.formats._checks import reviewed_box
from cdtr.formats.voc_zero import from_zero
from cdtr.records import Box, ImageBoxes

SAME_PIXELS = 0.5  # no corner further away: small boxes lose more IoU by rounding than SAME_IOU allows


def in_pixels(image: ImageBoxes, size_hw: tuple[int, int] | None, where: str) -> ImageBoxes:
    """An image whose boxes are shares, in pixels of its own size or else of ``size_hw``; DataError without any."""
    if not image.shares:
        return image
    size = image.size_hw or size_hw
    if size is None:
        raise DataError(f"{where}: {image.names[0]} has no size: point `boxes=` at a coco.json or boxes.csv of ours")
    height, width = size
    boxes = tuple(
        box._replace(xyxy=(x0 * width, y0 * height, x1 * width, y1 * height))
        for box in image.boxes
        for x0, y0, x1, y1 in [box.xyxy]
    )
    return checked(replace(image, boxes=boxes, size_hw=size, shares=False), where)


def checked(image: ImageBoxes, where: str) -> ImageBoxes:
    """The image with each box kept inside it; DataError for a box without an inside there."""
    boxes = tuple(
        reviewed_box(box.name, box.xyxy, image.size_hw, f"{where}, {image.names[0]}", box.key) for box in image.boxes
    )
    return replace(image, boxes=boxes)


def settle_corners(
    written: Mapping[str, ImageBoxes], reviewed: Mapping[str, ImageBoxes], where: str
) -> tuple[dict[str, ImageBoxes], int, bool]:
    """Boxes with pixels that count from 0, of a format that counts from 1 or, by some tools, from 0.

    Returns the boxes, what they counted from, and whether our boxes decided it: it is the one by which more boxes lie
    where ours do, and 1, as the format says, if neither is. DataError for a box without an inside in its image.
    """
    shifted = {name: from_zero(image) for name, image in reviewed.items()}
    kept = [
        sum(_is_kept(box, written[name].boxes) for name, image in found.items() for box in image.boxes)
        for found in (reviewed, shifted)
    ]
    first, chosen = (0, shifted) if kept[1] > kept[0] else (1, reviewed)
    return {name: checked(image, where) for name, image in chosen.items()}, first, kept[0] != kept[1]


def _is_kept(box: Box, ours: tuple[Box, ...]) -> bool:
    # Rounding moves a corner by half a pixel at most, and the wrong count by a whole one.
    return any(
        box.name == other.name and max(abs(a - b) for a, b in zip(box.xyxy, other.xyxy, strict=True)) <= SAME_PIXELS
        for other in ours
    )
