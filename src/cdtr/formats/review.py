"""The order in which to review images: a CSV row for each image, the most useful to review first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from cdtr.csv_cells import to_cell
from cdtr.errors import DataError
from cdtr.formats._target import Add, Target
from cdtr.records import Localization
from cdtr.runs import write_atomic

FILE_NAME = "review.csv"
_DOUBT_FROM = 0.1  # of the probability of an object, in an image that is said to have none
COLUMNS = ("image", "help", "label", "score", "boxes", "reasons")


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write the list.

    ``help`` is the probability that the best box's IoU is below 0.5, and 1 where there is no box. ``score`` and
    ``label`` are those of the box with the highest score. Of an image of a class without an object ``help`` is the
    probability that it has one after all, and ``score`` that it has none.

    Raises:
        DataError: The boxes have no calibrated scores.
    """
    rows: list[tuple[str, ...]] = []
    yield lambda localization: rows.append(_row(localization, target.class_names))
    rows.sort(key=lambda row: (-float(row[1]), row[0]))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((to_cell(image), help_, to_cell(label), *rest) for image, help_, label, *rest in rows)
    write_atomic(target.path, text.getvalue())


def _row(localization: Localization, class_names: Sequence[str]) -> tuple[str, ...]:
    if localization.doubts is None:
        raise DataError("the boxes have no calibrated scores: run `cdtr calibrate` with boxes before a review")
    if localization.empty:
        name, doubt = class_names[localization.map_label], localization.object_prob or 0.0
        reason = "no object, but the class is in doubt" if doubt >= _DOUBT_FROM else "no object"
        return localization.image_id, f"{doubt:.4f}", name, f"{1 - doubt:.4f}", "0", reason
    if not len(localization.scores):
        name = class_names[localization.map_label]
        return localization.image_id, "1.0000", name, "", "0", "no box, or none with a high enough score"
    best = int(np.argmax(localization.scores))
    score = float(localization.scores[best])
    label, reasons = class_names[int(localization.labels[best])], "; ".join(localization.doubts[best])
    count = str(len(localization.scores))
    return localization.image_id, f"{1 - score:.4f}", label, f"{score:.4f}", count, reasons
