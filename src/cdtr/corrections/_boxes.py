"""Boxes as a file has them, and checking them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cdtr.data.annotations._boxes import Corners, kept_inside, show
from cdtr.errors import DataError
from cdtr.json_tree import load_json

# A file is read whole, into some ten times its size; a million boxes take about half of this.
MOST_BYTES = 512 * 2**20


class NamedBox(NamedTuple):
    """A half-open box in source pixels and its class. key: says which of our boxes it was, where a tool keeps that."""

    label: str
    xyxy: Corners
    key: str | None = None


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """The boxes of an image. names: what it may be called, the surest first. size_hw: its size, where the file says.

    shares: whether boxes are shares of the image instead of pixels. bare: whether names have no suffix.
    """

    names: tuple[str, ...]
    size_hw: tuple[int, int] | None
    boxes: tuple[NamedBox, ...]
    shares: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class BoxFile:
    """What a file says. class_names: all classes, None where it lists none. unread: what was passed over, by kind.

    one_based: whether corners were read as if pixels count from 1, and may count from 0.
    """

    images: tuple[ImageBoxes, ...]
    class_names: tuple[str, ...] | None
    unread: Mapping[str, int]
    one_based: bool = False


def load_export(path: Path, what: str) -> Any:
    """The content of a tool's JSON; DataError for one too large, nested too deep or broken."""
    check_size(path)
    return load_json(path, what, allow_nan=False)


def check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise DataError(f"{path} has {size >> 20} MiB, at most {MOST_BYTES >> 20} are read: export it in parts")


def peek(path: Path) -> str:
    """The start of a file, by which formats are told apart; empty for a folder."""
    if path.is_dir():
        return ""
    with path.open("rb") as file:
        return file.read(4096).decode("utf-8-sig", errors="replace").lstrip()


def checked_box(label: str, corners: Sequence[float], size_hw: tuple[int, int] | None, where: str) -> Corners:
    """The corners, kept inside the image; DataError for a box without an inside there."""
    try:
        return kept_inside(corners, size_hw, where)
    except DataError as error:
        raise DataError(
            f"{where}: the box of {label!r:.60} at {show(corners)} covers nothing of the image: mend or delete it"
        ) from error


def image_size(height: Any, width: Any, where: str) -> tuple[int, int]:
    """A size in pixels; DataError unless both are whole and above 0."""
    try:
        size = int(height), int(width)
    except (TypeError, ValueError, OverflowError):
        size = (0, 0)
    if min(size) < 1:
        raise DataError(f"{where}: size {width!r:.40} x {height!r:.40}, expected pixels")
    return size
