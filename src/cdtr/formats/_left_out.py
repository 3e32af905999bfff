"""The list of the images that could not be read, so that no format holds them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from cdtr.csv_cells import to_cell
from cdtr.runs import write_atomic

LEFT_OUT = "left_out.csv"
COLUMNS = ("image", "reason")


def write_left_out(path: Path, left_out: Iterable[tuple[str, str]]) -> None:
    """Write a row for each image: its name, and the reason in words."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((to_cell(name), to_cell(reason)) for name, reason in left_out)
    write_atomic(path, text.getvalue())
