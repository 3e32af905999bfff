"""The CSV that `cdtr localize` writes, a box a row."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from cdtr.corrections._boxes import BoxFile, ImageBoxes, NamedBox, check_size, checked_box, image_size, peek
from cdtr.csv_cells import from_cell
from cdtr.errors import DataError
from cdtr.json_tree import numbers

WRITTEN_AS = "boxes.csv"
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_COLUMNS = ("image", "label", *_CORNERS, "width", "height")


def recognises(path: Path) -> bool:
    return set(_COLUMNS) <= set(peek(path).partition("\n")[0].strip().split(","))


def read(path: Path, reviewed: bool) -> BoxFile:
    """A row with empty corners is an image without a box. Other columns are passed over."""
    check_size(path)
    boxes: dict[str, list[NamedBox]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            absent = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if absent:
                raise DataError(f"{path} has no column {absent[0]!r}: expected {','.join(_COLUMNS)}, commas between")
            for number, row in enumerate(rows, start=1):
                if None in row.values() or None in row:
                    raise DataError(f"{path}, row {number} has another number of fields than the header: correct it")
                name = from_cell(row["image"])
                where = f"{path}, {name}"
                sizes[name] = size = image_size(row["height"], row["width"], where)
                found = boxes.setdefault(name, [])
                found.extend(_boxes(row, size, where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}): save it as UTF-8 with commas between") from error
    return BoxFile(tuple(ImageBoxes((name,), sizes[name], tuple(found)) for name, found in boxes.items()), None, {})


def _boxes(row: Mapping[str, str | None], size_hw: tuple[int, int], where: str) -> list[NamedBox]:
    if not any(row[name] for name in _CORNERS):
        return []
    label = from_cell(row["label"] or "")
    corners = numbers([row[name] for name in _CORNERS], f"{where}: corners")
    return [NamedBox(label, checked_box(label, corners, size_hw, where))]
