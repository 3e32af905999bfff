"""One CSV row a box, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cdtr.csv_cells import to_cell
from cdtr.exports._target import Add, Target, boxes_of
from cdtr.records import Localization
from cdtr.runs import atomic_file

FILE_NAME = "boxes.csv"
COLUMNS = ("image", "label", "score", "x_min", "y_min", "x_max", "y_max", "width", "height")


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Boxes in source pixels, half-open; ``width`` and ``height`` are the image's.

    An image without a box gets one row with empty label, score and corners, so that no image is lost silently. Names
    that a spreadsheet would run have an apostrophe in front, see ``cdtr.csv_cells``.
    """
    with atomic_file(target.path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        try:
            yield lambda localization: writer.writerows(_rows(localization, target.class_names))
        finally:
            text.detach()  # or it would close the file before that is in its place


def _rows(localization: Localization, class_names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    height, width = localization.size_hw
    image, boxes = to_cell(localization.image_id), boxes_of(localization, class_names)
    if not boxes:
        yield (image, "", "", "", "", "", "", width, height)
    for box in boxes:
        corners = (f"{x:.10g}" for x in box.xyxy)
        yield (image, to_cell(box.name), f"{box.score:.6f}", *corners, width, height)
