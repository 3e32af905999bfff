"""A CSV file, a box a row, with a header.

Columns, in any order and capitalisation, others are passed over: the image (``image``, ``filename``, ``file_name``,
``image_id``, ``image_path`` or ``path``); corners, half-open pixels from 0 (``x_min, y_min, x_max, y_max``, the same
without underscores, or ``x0, y0, x1, y1``), or ``x, y, width, height`` of the box; and, if wanted, its class
(``label``, ``class``, ``class_name`` or ``category``). A row with empty corners is an image that was looked at and has
no box. `cdtr localize --format csv` writes such a file.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cdtr.account import Account
from cdtr.csv_cells import from_cell
from cdtr.data.annotations._boxes import NamedBox, Size, faulty_box, named_box, own_boxes
from cdtr.data.annotations._images import Images, report_unmatched, tell_predicted
from cdtr.data.written import written_names
from cdtr.errors import DataError
from cdtr.records import Annotation, Sample

_NAMES = ("boxes.csv", "annotations.csv", "_annotations.csv")
_IMAGE = ("image", "filename", "file_name", "image_id", "image_path", "path")
_CLASS = ("label", "class", "class_name", "category")
_CORNERS = (("x_min", "y_min", "x_max", "y_max"), ("xmin", "ymin", "xmax", "ymax"), ("x0", "y0", "x1", "y1"))
_SIZED = ("x", "y", "width", "height")


def find(images: Images) -> list[Path]:
    places = [images.root, images.root / "annotations"]
    return [
        place / name
        for place in places
        for name in _NAMES
        if (place / name).is_file() and name not in written_names(place)
    ]


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def read(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    boxes: dict[str, list[NamedBox]] = {}
    sizes: dict[str, Size] = {}
    for path in paths:
        unmatched: list[str] = []
        matched = 0
        for row in _rows(path):
            if not row.image:
                account.leave("rows that name no image", row.where)
                continue
            sample = images.find(row.image, row.where)
            if sample is None:
                unmatched.append(row.image)
                continue
            matched += 1
            tell_predicted(row.score, images, path, account, row.where)
            boxes.setdefault(sample.image_id, []).extend([row.box] if row.box is not None else [])
            if row.size_hw is not None:
                sizes[sample.image_id] = row.size_hw
        report_unmatched(unmatched, matched, images, str(path), account)
    where = ", ".join(map(str, paths))
    if not boxes and account.left_out:
        raise DataError(f"{where} has no row that can be used: {account.line()}")
    return own_boxes(boxes, images, where, account, sizes=sizes)


class _Row(NamedTuple):
    """A box, or None of an image that was found to have none; a size where the row gives that of the image."""

    image: str
    box: NamedBox | None
    where: str
    size_hw: Size | None = None
    score: str | None = None


def _rows(path: Path) -> list[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)  # an open quote would take the rest for one field
            columns = {(name or "").strip().casefold(): name for name in reader.fieldnames or ()}
            found = _columns(path, columns)
            return [
                _row(row, found, f"{path}, row {number}")
                for number, row in enumerate(reader, start=1)
                if any(row.values())
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}): save it as UTF-8 with commas between") from error


class _Columns(NamedTuple):
    """The names of the columns; sized: the corners are x, y, width, height."""

    image: str
    corners: tuple[str, ...]
    sized: bool
    label: str | None
    size: tuple[str, str] | None


def _columns(path: Path, columns: Mapping[str, str]) -> _Columns:
    image = next((columns[name] for name in _IMAGE if name in columns), None)
    corners = next((names for names in (*_CORNERS, _SIZED) if all(name in columns for name in names)), None)
    if image is None or corners is None:
        raise DataError(
            f"{path} has the columns {', '.join(columns) or 'none'}: expected image, x_min, y_min, x_max, y_max, and "
            "if wanted label"
        )
    label = next((columns[name] for name in _CLASS if name in columns), None)
    sized = corners == _SIZED
    size = (columns["height"], columns["width"]) if not sized and {"height", "width"} <= set(columns) else None
    return _Columns(image, tuple(columns[name] for name in corners), sized, label, size)


def _row(row: Mapping[str | None, str | None], columns: _Columns, where: str) -> _Row:
    """What a row says; one with fewer or more fields than the header is a fault of its image."""
    name = from_cell((row.get(columns.image) or "").strip())
    if None in row.values() or None in row:
        error = DataError(f"{where} of image {name!r:.60} has another number of fields than the header: correct it")
        return _Row(name, faulty_box(error), where)
    texts = [(row.get(column) or "").strip() for column in columns.corners]
    if not any(texts):
        return _Row(name, None, where)
    try:
        values = [float(text) for text in texts]
    except ValueError:
        error = DataError(f"{where}: box {texts}, expected four numbers, or none for an image without a box")
        return _Row(name, faulty_box(error), where)
    if columns.sized:
        values = [values[0], values[1], values[0] + values[2], values[1] + values[3]]
    own = from_cell((row.get(columns.label) or "").strip()) if columns.label else ""
    return _Row(name, named_box(own or None, values, where), where, _size(row, columns, values), row.get("score"))


def _size(row: Mapping[str | None, str | None], columns: _Columns, corners: Sequence[float]) -> Size | None:
    """Height and width of the image, where columns of these names are not the box's own."""
    if columns.size is None:
        return None
    try:
        height, width = (round(float(row.get(column) or "")) for column in columns.size)
    except (ValueError, OverflowError):
        return None
    own = abs(corners[3] - corners[1] - height) <= 1 and abs(corners[2] - corners[0] - width) <= 1
    return None if own and (corners[0] > 1 or corners[1] > 1) else (height, width)
