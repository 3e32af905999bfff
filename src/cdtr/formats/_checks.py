"""The checks of a box that all formats share, and of the files that hold boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from cdtr.errors import DataError
from cdtr.json_tree import load_json
from cdtr.records import Box, Corners, ImageBoxes

Size: TypeAlias = tuple[int, int]  # height, width

# A file is read whole, into about ten times its size; a million boxes take about half of this.
MOST_BYTES = 512 * 2**20
_MAX_STRETCH = 0.05


@dataclass(frozen=True, slots=True)
class BoxFile:
    """The content of a file of boxes, read in whole.

    Attributes:
        images: The images in the order of the file.
        class_names: All classes, None where the file lists none.
        unread: The number of entries that were passed over, by kind.
        one_based: Corners were read as if pixels count from 1, and may count from 0.
    """

    images: tuple[ImageBoxes, ...]
    class_names: tuple[str, ...] | None
    unread: Mapping[str, int]
    one_based: bool = False


def check_box(corners: Sequence[float], where: str) -> Corners:
    """Return finite half-open corners with x0 < x1 and y0 < y1; raise DataError for others."""
    x0, y0, x1, y1 = (float(value) for value in corners)
    if not (all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1):
        raise DataError(f"{where}: box {show(corners)} has no inside or is not finite")
    return x0, y0, x1, y1


def kept_inside(corners: Sequence[float], size_hw: Size | None, where: str) -> Corners:
    """Clip a box to its image of a known size; raise DataError if nothing of it lies there."""
    x0, y0, x1, y1 = check_box(corners, where)
    if size_hw is not None:
        x0, x1 = (min(max(x, 0.0), float(size_hw[1])) for x in (x0, x1))
        y0, y1 = (min(max(y, 0.0), float(size_hw[0])) for y in (y0, y1))
    if not (x0 < x1 and y0 < y1):
        size = "" if size_hw is None else f" of {size_hw[1]} x {size_hw[0]}"
        raise DataError(f"{where}: box {show(corners)} covers nothing of its image{size}")
    return x0, y0, x1, y1


def reviewed_box(name: str, corners: Sequence[float], size_hw: Size | None, where: str, key: str | None = None) -> Box:
    """Return a box clipped to its image; raise DataError, with what a reviewer can do, if nothing of it lies there."""
    try:
        return Box(name, kept_inside(corners, size_hw, where), key)
    except DataError as error:
        raise DataError(
            f"{where}: the box of {name!r:.60} at {show(corners)} covers nothing of the image: mend or delete it"
        ) from error


def lenient_box(name: str, corners: Sequence[float], where: str) -> Box:
    """Return a box, with a fault if ``check_box`` refuses it."""
    try:
        return Box(name, check_box(corners, where))
    except DataError as error:
        return faulty_box(error)._replace(name=name)


def faulty_box(error: DataError) -> Box:
    """Return a box that stands for what cannot be read of an image's boxes."""
    return Box("", (0.0, 0.0, 0.0, 0.0), fault=str(error))


def check_upright(degrees: float, where: str) -> None:
    """Raise DataError for a rotated box: its corners are those of another box."""
    if degrees % 360:
        raise DataError(f"{where}: turned by {degrees:g} degrees, expected upright boxes")


def check_in_pixels(corners: Sequence[Sequence[float]], where: str) -> None:
    """Raise DataError where all corners of a file lie between 0 and 1, so that they are fractions of the image."""
    if corners and max(map(max, corners)) <= 1 and any(value % 1 for box in corners for value in box):
        raise DataError(
            f"{where}: all corners lie between 0 and 1, such as {show(corners[0])}: expected pixels, not shares of the "
            "image"
        )


def scale_to(declared_hw: Size | None, size_hw: Size | None, where: str) -> tuple[float, float]:
    """Compute how much wider and higher an image is than its file of boxes says.

    Args:
        declared_hw: The size in the file; None or 0 where it does not say one.
        size_hw: The size of the image; None where it is not known.
        where: The place for the error.

    Raises:
        DataError: The proportions differ.
    """
    if declared_hw is None or size_hw is None or min(declared_hw) < 1 or declared_hw == size_hw:
        return 1.0, 1.0
    across, down = size_hw[1] / declared_hw[1], size_hw[0] / declared_hw[0]
    if abs(across / down - 1) > min(1 / min(*declared_hw, *size_hw), _MAX_STRETCH):  # a pixel of rounding
        turned = ", so it was drawn on the image before its EXIF rotation" if declared_hw == size_hw[::-1] else ""
        raise DataError(
            f"{where}: the file says {declared_hw[1]} x {declared_hw[0]} pixels, the image has {size_hw[1]} x "
            f"{size_hw[0]}{turned}: expected boxes of this image"
        )
    return across, down


def same_proportions(first_hw: tuple[int, ...], second_hw: tuple[int, ...]) -> bool:
    """Whether two masks or images may be the same one, stored at two scales."""
    one, other = first_hw[0] * second_hw[1], first_hw[1] * second_hw[0]
    return max(one, other) <= (1 + _MAX_STRETCH) * min(one, other)  # more would move a mask's edge by several pixels


def image_size(height: Any, width: Any, where: str) -> Size:
    """Return (height, width) in pixels; raise DataError unless both are whole and above 0."""
    try:
        size = int(height), int(width)
    except (TypeError, ValueError, OverflowError):
        size = (0, 0)
    if min(size) < 1:
        raise DataError(f"{where}: size {width!r:.40} x {height!r:.40}, expected pixels")
    return size


def show(corners: Sequence[float]) -> str:
    """Format corners for a message."""
    return ", ".join(f"{float(value):g}" for value in corners)


def load_export(path: Path, what: str) -> Any:
    """Read the JSON that a tool exported; raise DataError for a file that is too large, too deep or damaged."""
    check_size(path)
    return load_json(path, what, allow_nan=False)


def check_size(path: Path) -> None:
    """Raise DataError for a file that is too large to be read in whole."""
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(f"{path} has {size >> 20} MiB, at most {MOST_BYTES >> 20} are read: export it in parts")


def peek(path: Path) -> str:
    """Return the start of a file, by which formats are told apart; empty for a folder."""
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        return file.read(4096).decode("utf-8-sig", errors="replace").lstrip()
