"""The lines of ``results/*.csv``: one run a line, every value a string, an empty one where nothing is known."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from cdtr.csv_cells import from_cell
from cdtr.errors import DataError
from cdtr.reports.tables import csv_text
from cdtr.runs import write_atomic

Line = Mapping[str, str]

KEY = ("table", "row", "seed")
FACTS = (
    *KEY,
    "command",
    "data",
    "split",
    "revision",
    "machine",
    "recipe",
    "method",
    "view",
    "protocol",
    "threshold",
    "threshold_source",
    "n_images",
    "n_annotated",
)
# Of an evaluation's "metrics", in percent.
MEASURED = (
    "top1_loc",
    "top5_loc",
    "gt_known_loc",
    "gt_known_loc_iou70",
    "top1_cls",
    "top5_cls",
    "max_box_acc",
    "max_box_acc_v2",
    "pxap",
    "mean_iou",
    "median_iou",
)
# From elsewhere in the evaluation: its curves, and the threshold that is best on the evaluated images.
IOU30, ORACLE = "gt_known_loc_iou30", "oracle_gt_known_loc"
METRICS = (*MEASURED, IOU30, ORACLE)
BASELINES = ("full_image", "centre_box", "centre_box_per_class")
OF_BASELINES = ("gt_known_loc", "gt_known_loc_iou70", "top1_loc")


def baseline_column(baseline: str, metric: str) -> str:
    """The column that holds a baseline's metric; there is one for ``OF_BASELINES`` only."""
    return f"{baseline}_{metric}"


COLUMNS = (*FACTS, *METRICS, *(baseline_column(name, metric) for name in BASELINES for metric in OF_BASELINES))


def line_key(line: Line) -> tuple[str, str, int]:
    """Table, row and seed: no two lines of a file share them."""
    return line["table"], line["row"], int(line["seed"])


def read_lines(path: Path) -> list[dict[str, str]]:
    """The lines of a file; DataError for other columns than ``COLUMNS``, or two lines of one key."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
        found = tuple(reader.fieldnames or ())
    if found != COLUMNS:
        unlike = sorted(set(found) ^ set(COLUMNS))
        raise DataError(
            f"{path} has other columns than now ({', '.join(unlike) or 'in another order'}): collect its runs anew"
        )
    seen: set[tuple[str, str, int]] = set()
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values() or not line["seed"].isdecimal():
            raise DataError(f"{path}, line {number}: expected {len(COLUMNS)} values, a whole number as seed among them")
        if line_key(line) in seen:
            raise DataError(f"{path}, line {number}: {line['row']}, seed {line['seed']} is there already, remove one")
        seen.add(line_key(line))
    return [{column: from_cell(value) for column, value in line.items()} for line in lines]


def merged(old: Iterable[Line], new: Iterable[Line]) -> list[Line]:
    """Old and new lines sorted by table, row and seed; a new line replaces the old one of its key as a whole."""
    by_key = {line_key(line): line for line in (*old, *new)}
    return [by_key[key] for key in sorted(by_key)]


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Write a file atomically, in the order of ``COLUMNS``."""
    write_atomic(path, csv_text(COLUMNS, [[line[column] for column in COLUMNS] for line in lines]))
