"""CSV, a row for each box, with a header: for spreadsheets and data frames.

Columns of a file beside a data set, in any order and capitalisation, others are passed over: the image (``image``,
``filename``, ``file_name``, ``image_id``, ``image_path`` or ``path``); corners, half-open pixels from 0 (``x_min,
y_min, x_max, y_max``, the same without underscores, or ``x0, y0, x1, y1``), or ``x, y, width, height`` of the box;
and, if wanted, its class (``label``, ``class``, ``class_name`` or ``category``). A row with empty corners is an image
that was looked at and has no box.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from cdtr.account import Account
from cdtr.csv_cells import from_cell, to_cell
from cdtr.errors import DataError
from cdtr.formats._checks import (
    BoxFile,
    Size,
    check_size,
    faulty_box,
    image_size,
    lenient_box,
    peek,
    reviewed_box,
)
from cdtr.formats._images import Images, report_unmatched, tell_predicted
from cdtr.formats._own_boxes import own_boxes
from cdtr.formats._target import Add, Target, boxes_of
from cdtr.image_files.written import written_names
from cdtr.json_tree import numbers
from cdtr.records import Annotation, Box, ImageBoxes, Localization, Sample
from cdtr.runs import atomic_file

FILE_NAME = WRITTEN_AS = "boxes.csv"
_OWN_CORNERS = ("x_min", "y_min", "x_max", "y_max")
COLUMNS = ("image", "label", "score", *_OWN_CORNERS, "width", "height")
_REVIEWED = tuple(name for name in COLUMNS if name != "score")

_BESIDE_IMAGES = ("boxes.csv", "annotations.csv", "_annotations.csv")
_IMAGE = ("image", "filename", "file_name", "image_id", "image_path", "path")
_CLASS = ("label", "class", "class_name", "category")
_CORNERS = (_OWN_CORNERS, ("xmin", "ymin", "xmax", "ymax"), ("x0", "y0", "x1", "y1"))
_SIZED = ("x", "y", "width", "height")

_Fields: TypeAlias = dict[str | Any, str | Any]  # a row has None for missing fields, and as the name of surplus ones


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write half-open boxes in source pixels; ``width`` and ``height`` are the image's.

    An image without a box gets one row with empty label, score and corners, so that no image is lost silently. Names
    that a spreadsheet would run have an apostrophe in front, see ``cdtr.csv_cells``.
    """
    with atomic_file(target.path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        try:
            yield lambda localization: writer.writerows(_written(localization, target.class_names))
        finally:
            text.detach()  # or it would close the file before that is in its place


def _written(localization: Localization, class_names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    height, width = localization.size_hw
    image, boxes = to_cell(localization.image_id), boxes_of(localization, class_names)
    if not boxes:
        yield (image, "", "", "", "", "", "", width, height)
    for box in boxes:
        corners = (f"{x:.10g}" for x in box.xyxy)
        yield (image, to_cell(box.name), f"{box.score:.6f}", *corners, width, height)


def recognises(path: Path) -> bool:
    """Whether a file has all columns that we write, but for the scores."""
    return set(_REVIEWED) <= set(peek(path).partition("\n")[0].strip().split(","))


def read(path: Path, reviewed: bool) -> BoxFile:
    """Read reviewed boxes, in the columns that we write.

    Raises:
        DataError: The file, or any row, cannot be used.
    """
    check_size(path)
    boxes: dict[str, list[Box]] = {}
    sizes: dict[str, Size] = {}
    rows = _rows(path)
    header = next(rows)
    absent = [name for name in _REVIEWED if name not in header]
    if absent:
        raise DataError(f"{path} has no column {absent[0]!r}: expected {','.join(_REVIEWED)}, commas between")
    for number, row in enumerate(rows, start=1):
        if not _is_whole(row):
            raise DataError(f"{path}, row {number} has another number of fields than the header: correct it")
        name, label = from_cell(row["image"]), from_cell(row["label"])
        where = f"{path}, {name}"
        sizes[name] = size = image_size(row["height"], row["width"], where)
        found = boxes.setdefault(name, [])
        if any(row[column] for column in _OWN_CORNERS):
            corners = numbers([row[column] for column in _OWN_CORNERS], f"{where}: corners")
            found.append(reviewed_box(label, corners, size, where))
    return BoxFile(tuple(ImageBoxes((name,), sizes[name], tuple(found)) for name, found in boxes.items()), None, {})


def find(images: Images) -> list[Path]:
    """Find the CSV files of a data set where they usually lie."""
    return [
        place / name
        for place in (images.root, images.root / "annotations")
        for name in _BESIDE_IMAGES
        if (place / name).is_file() and name not in written_names(place)
    ]


def accepts(path: Path) -> bool:
    """Whether a file that the user named is read as CSV."""
    return path.suffix.lower() == ".csv"


def open_annotations(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    """Read the boxes of a data set."""
    boxes: dict[str, list[Box]] = {}
    sizes: dict[str, Size] = {}
    for path in paths:
        unmatched: list[str] = []
        matched = 0
        rows = _rows(path)
        columns = _columns(path, next(rows))
        read_rows = [
            _row(row, columns, f"{path}, row {number}") for number, row in enumerate(rows, start=1) if any(row.values())
        ]
        for row in read_rows:
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


def _rows(path: Path) -> Iterator[_Fields]:
    """Yield the header, each name as its own value, then each row by the names of the header."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)  # an open quote would take the rest for one field
            yield {name: name for name in reader.fieldnames or ()}
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}): save it as UTF-8 with commas between") from error


def _is_whole(row: _Fields) -> bool:
    return None not in row.values() and None not in row


class _Row(NamedTuple):
    """A box, or None for an image that was found to have none; a size where the row gives that of the image."""

    image: str
    box: Box | None
    where: str
    size_hw: Size | None = None
    score: str | None = None


class _Columns(NamedTuple):
    """The names of the columns; sized: the corners are x, y, width, height."""

    image: str
    corners: tuple[str, ...]
    sized: bool
    label: str | None
    size: tuple[str, str] | None


def _columns(path: Path, header: Iterable[str]) -> _Columns:
    columns: Mapping[str, str] = {(name or "").strip().casefold(): name for name in header}
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


def _row(row: _Fields, columns: _Columns, where: str) -> _Row:
    """Read a row; one with fewer or more fields than the header is a fault of its image."""
    name = from_cell((row.get(columns.image) or "").strip())
    if not _is_whole(row):
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
    return _Row(name, lenient_box(own, values, where), where, _size(row, columns, values), row.get("score"))


def _size(row: _Fields, columns: _Columns, corners: Sequence[float]) -> Size | None:
    """The height and width of the image, where columns of these names are not the box's own."""
    if columns.size is None:
        return None
    try:
        height, width = (round(float(row.get(column) or "")) for column in columns.size)
    except (ValueError, OverflowError):
        return None
    own = abs(corners[3] - corners[1] - height) <= 1 and abs(corners[2] - corners[0] - width) <= 1
    return None if own and (corners[0] > 1 or corners[1] > 1) else (height, width)
