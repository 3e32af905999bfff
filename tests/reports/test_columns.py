"""No table cuts a name or a number with dots on a terminal of 80 columns."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from cdtr.corrections import Review, Tally
from cdtr.evaluation import Evaluation
from cdtr.metrics.paired import PairedDifference
from cdtr.reports.ablation_table import summarise, to_table
from cdtr.reports.columns import add_number, add_text
from cdtr.reports.tables import (
    BASELINE_NAMES,
    METRIC_NAMES,
    differences_table,
    metrics_table,
    per_class_table,
    protocols_table,
)
from cdtr.threshold import Threshold, ThresholdSource
from cdtr.workflows.import_corrections import review_table

LONG = "a class whose name is longer than anybody would like to have it in a table"
RECIPE = "small without border prior"


def evaluation(protocol: str = "wsol") -> Evaluation:
    scores = dict.fromkeys(METRIC_NAMES, 100.0)
    values: dict[str, Any] = {
        "protocol": protocol,
        "n_images": 5,
        "n_annotated": 4,
        "map_threshold": Threshold(0.25, ThresholdSource.CALIBRATED, "1000 held-out training images"),
        "intervals": dict.fromkeys(METRIC_NAMES, (100.0, 100.0)),
        "metrics": scores,
        "baselines": dict.fromkeys(BASELINE_NAMES, scores),
        "oracle": {"threshold": 0.4, "gt_known_loc": 80.0, "top1_loc": 55.0},
        "per_class": {0: scores},
        "notes": (),
    }
    return Evaluation(**values)


def ablation(metrics: int) -> Table:
    names = tuple(METRIC_NAMES)[:metrics]
    found = {
        (row, seed): {
            "protocol": "wsol",
            "metrics": dict.fromkeys(names, 10.5 * seed),
            "baselines": {name: dict.fromkeys(names, 100.0) for name in BASELINE_NAMES},
        }
        for row in ("base", "without-border-prior")
        for seed in range(3)
    }
    return to_table(summarise(found, names, "base", {"base": RECIPE, "without-border-prior": "small"}))


def differences() -> Table:
    one = PairedDifference("gt_known_loc_iou70", 99.9, 100.0, -10.5, -100.0, -99.9, 0.0, "exact McNemar", 1000)
    return differences_table([one], (RECIPE, "paper"))


def review() -> Table:
    tally = Tally(12345, 12345, 12345, 12345, 12345)
    return review_table(Review((), (LONG,), 1, 0, 0, tally, {LONG: tally}))


TABLES = {
    "metrics": lambda: metrics_table(evaluation()),
    "protocols": lambda: protocols_table([evaluation(name) for name in ("wsol", "tscam", "sat", "cdtr")]),
    "classes": lambda: per_class_table(evaluation(), [LONG]),
    "differences": differences,
    "one metric": lambda: ablation(1),
    "two metrics": lambda: ablation(2),
    "review": review,
}


def printed(table: Table, width: int) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return text.getvalue()


@pytest.mark.parametrize("name", TABLES)
def test_at_80_columns_nothing_is_cut(name: str) -> None:
    table = TABLES[name]()
    text = printed(table, 80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    # Every word of the headers, and every number, is whole on a line.
    words = {word for column in table.columns for word in str(column.header).split()}
    numbers = {
        part for column in table.columns[1:] for cell in column.cells for part in re.findall(r"[\d.–]+", str(cell))
    }
    assert not [word for word in words | numbers if word not in text]


def test_a_grid_of_many_metrics_is_folded_and_not_cut() -> None:
    text = printed(ablation(4), 80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_names_fold_where_even_words_do_not_fit() -> None:
    table = Table()
    add_text(table, "name")
    add_number(table, "some figure")
    table.add_row("x" * 60, "12.5")
    text = printed(table, 30)
    assert text.count("x") == 60
    assert "12.5" in text
    assert max(map(len, text.splitlines())) <= 30
