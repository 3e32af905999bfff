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

from cdtr.csv_cells import from_cell
from cdtr.data.annotations._images import Images, NamedBox, named_box, own_boxes, report_unmatched
from cdtr.errors import DataError
from cdtr.records import Annotation, Sample

_NAMES = ("boxes.csv", "annotations.csv", "_annotations.csv")
_IMAGE = ("image", "filename", "file_name", "image_id", "image_path", "path")
_CLASS = ("label", "class", "class_name", "category")
_CORNERS = (("x_min", "y_min", "x_max", "y_max"), ("xmin", "ymin", "xmax", "ymax"), ("x0", "y0", "x1", "y1"))
_SIZED = ("x", "y", "width", "height")


def find(images: Images) -> list[Path]:
    places = [images.root, images.root / "annotations"]
    return [place / name for place in places for name in _NAMES if (place / name).is_file()]


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def read(paths: Sequence[Path], images: Images) -> Callable[[Sample], Annotation | None]:
    boxes: dict[str, list[NamedBox]] = {}
    for path in paths:
        unmatched: list[str] = []
        matched = 0
        for name, box, where in _rows(path):
            sample = images.find(name, where)
            if sample is None:
                unmatched.append(name)
                continue
            matched += 1
            boxes.setdefault(sample.image_id, []).extend([box] if box is not None else [])
        report_unmatched(unmatched, matched, images, str(path))
    return own_boxes(boxes, images, ", ".join(map(str, paths)))


def _rows(path: Path) -> list[tuple[str, NamedBox | None, str]]:
    """(image, box or None, where) of each row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = {(name or "").strip().casefold(): name for name in reader.fieldnames or ()}
            image, corners, label = _columns(path, columns)
            return [
                _row(row, (image, corners, label), f"{path}, row {number}")
                for number, row in enumerate(reader, start=1)
                if any(row.values())
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}): save it as UTF-8 with commas between") from error


def _columns(path: Path, columns: Mapping[str, str]) -> tuple[str, tuple[str, ...], str | None]:
    image = next((columns[name] for name in _IMAGE if name in columns), None)
    corners = next((names for names in (*_CORNERS, _SIZED) if all(name in columns for name in names)), None)
    if image is None or corners is None:
        raise DataError(
            f"{path} has the columns {', '.join(columns) or 'none'}: expected image, x_min, y_min, x_max, y_max, and "
            "if wanted label"
        )
    label = next((columns[name] for name in _CLASS if name in columns), None)
    return image, tuple(columns[name] for name in corners), label


def _row(
    row: Mapping[str, str | None], columns: tuple[str, tuple[str, ...], str | None], where: str
) -> tuple[str, NamedBox | None, str]:
    image, corners, label = columns
    texts = [(row.get(name) or "").strip() for name in corners]
    name = from_cell((row.get(image) or "").strip())
    if not name:
        raise DataError(f"{where} names no image")
    if not any(texts):
        return name, None, where
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise DataError(f"{where}: box {texts}, expected four numbers, or none for an image without a box") from None
    if tuple(name.strip().casefold() for name in corners) == _SIZED:
        values = [values[0], values[1], values[0] + values[2], values[1] + values[3]]
    own = from_cell((row.get(label) or "").strip()) if label else ""
    return name, named_box(own or None, values, where), where
