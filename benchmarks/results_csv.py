"""Lines of ``results/*.csv``: one for each run; every value is a string, empty if unknown."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from cdtr.csv_cells import from_cell
from cdtr.errors import DataError
from cdtr.metrics import all_metrics
from cdtr.metrics.baselines import BASELINE_TITLES
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
MEASURED = tuple(metric.key for metric in all_metrics())  # of an evaluation's "metrics"
# From elsewhere in the evaluation: its curves, and the threshold that is best on the evaluated images.
IOU30, ORACLE = "gt_known_loc_iou30", "oracle_gt_known_loc"
AVERAGE_PRECISION = {  # of `cdtr score`, over all boxes of an image
    "ap50": "AP at IoU 0.5",
    "ap": "AP at 0.5 to 0.95",
    "ap50_any_class": "AP at 0.5, any class",
}
METRIC_LABELS = {
    **{metric.key: metric.short_label for metric in all_metrics()},
    IOU30: "at IoU 0.3",
    ORACLE: "oracle GT-known",
    **AVERAGE_PRECISION,
}
METRICS = tuple(METRIC_LABELS)
BASELINES = tuple(BASELINE_TITLES)
OF_BASELINES = ("gt_known_loc", "gt_known_loc_iou70", "top1_loc")


def baseline_column(baseline: str, metric: str) -> str:
    """Name the column of a baseline's metric, which must be one of ``OF_BASELINES``."""
    return f"{baseline}_{metric}"


SCORES = (*METRICS, *(baseline_column(name, metric) for name in BASELINES for metric in OF_BASELINES))
COLUMNS = (*FACTS, *SCORES)


def line_key(line: Line) -> tuple[str, str, int]:
    """Return table, row and seed, which identify a line of a file."""
    return line["table"], line["row"], int(line["seed"])


def read_lines(path: Path) -> list[dict[str, str]]:
    """Read the lines of a file.

    Args:
        path: A CSV file with the columns ``COLUMNS``, in any order.

    Returns:
        One value for each of ``COLUMNS``; empty for a metric that is newer than the file.

    Raises:
        DataError: For other columns, a line of another length, or two lines of one key.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        lines = list(reader)
        found = tuple(reader.fieldnames or ())
    unlike = sorted(set(found) - set(COLUMNS) | set(FACTS) - set(found))
    if unlike or len(set(found)) < len(found):
        raise DataError(
            f"{path} has other columns than now ({', '.join(unlike) or 'one twice'}): collect its runs anew"
        )
    seen: set[tuple[str, str, int]] = set()
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values() or not line["seed"].isdecimal():
            raise DataError(f"{path}, line {number}: expected {len(found)} values, a whole number as seed among them")
        if line_key(line) in seen:
            raise DataError(f"{path}, line {number}: {line['row']}, seed {line['seed']} is there already, remove one")
        seen.add(line_key(line))
    return [{column: from_cell(line.get(column, "")) for column in COLUMNS} for line in lines]


def merged(old: Iterable[Line], new: Iterable[Line]) -> list[Line]:
    """Merge old and new lines.

    Args:
        old: Lines of a file.
        new: Lines that replace the old ones of the same key.

    Returns:
        The lines sorted by table, row and seed.
    """
    by_key = {line_key(line): line for line in (*old, *new)}
    return [by_key[key] for key in sorted(by_key)]


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Write a file atomically. An existing file keeps the order of its columns; new ones follow."""
    known: tuple[str, ...] = ()
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            known = tuple(column for column in next(csv.reader(file), []) if column in COLUMNS)
    columns = tuple(dict.fromkeys((*known, *COLUMNS)))
    write_atomic(path, csv_text(columns, [[line.get(column, "") for column in columns] for line in lines]))
