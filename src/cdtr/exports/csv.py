"""One CSV row a box, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cdtr.errors import DataError
from cdtr.records import Localization
from cdtr.runs import write_atomic

FILE_NAME = "boxes.csv"
COLUMNS = ("image", "label", "score", "x_min", "y_min", "x_max", "y_max", "width", "height")


def write_csv(localizations: Iterable[Localization], path: Path, class_names: Sequence[str]) -> None:
    """Write boxes in source pixels, half-open; ``width`` and ``height`` are the image's.

    An image without a box gets one row with empty label, score and corners, so that no image is lost silently.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for localization in localizations:
        writer.writerows(_rows(localization, class_names))
    write_atomic(path, text.getvalue())


def _rows(localization: Localization, class_names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    height, width = localization.size_hw
    if not len(localization.boxes_xyxy):
        yield (localization.image_id, "", "", "", "", "", "", width, height)
    boxes, labels, scores = (
        array.tolist() for array in (localization.boxes_xyxy, localization.labels, localization.scores)
    )
    for corners, label, score in zip(boxes, labels, scores, strict=True):
        if not 0 <= label < len(class_names):
            raise DataError(f"{localization.image_id} has class {label}, {len(class_names)} class names were given")
        yield (
            localization.image_id,
            class_names[label],
            f"{score:.6f}",
            *(f"{x:.10g}" for x in corners),
            width,
            height,
        )
