"""The table of a grid of trainings."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from cdtr.errors import DataError
from cdtr.reports.ablation_table import summarise, to_csv, to_markdown, to_table


def evaluation(loc: float | None, protocol: str = "wsol") -> dict[str, Any]:
    return {
        "protocol": protocol,
        "metrics": {"gt_known_loc": loc, "top1_cls": 50.0},
        "baselines": {"centre_box": {"gt_known_loc": 40.0}, "full_image": None},
    }


RESULTS = {
    ("a", 0): evaluation(10.0),
    ("a", 1): evaluation(20.0),
    ("b", 0): evaluation(14.0),
    ("b", 1): evaluation(28.0),
    ("b", 2): evaluation(99.0),
}


SMALL = {"a": "small", "b": "small", "not run yet": "paper"}


def test_differences_are_of_the_same_seed() -> None:
    table = summarise(RESULTS, ("gt_known_loc",), "a", SMALL)
    a, b, change = (
        table.scores["a"]["gt_known_loc"],
        table.scores["b"]["gt_known_loc"],
        table.differences["b"]["gt_known_loc"],
    )
    assert a is not None
    assert b is not None
    assert change is not None
    assert a.values == (10, 20)
    assert b.values == (14, 28, 99)
    assert change.values == (4, 8)
    assert a.mean == 15
    assert round(a.std, 3) == 7.071
    assert change.mean == 6
    assert table.differences["a"]["gt_known_loc"] is None
    assert table.baselines["centre_box"] == {"gt_known_loc": 40}
    assert "| b | 3 | 47.0 ± 45.6 | +6.0 ± 2.8 |" in to_markdown(table)
    rows = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert [row["values"] for row in rows] == ["10.000 20.000", "14.000 28.000 99.000"]


def test_what_was_not_measured_is_a_dash() -> None:
    table = summarise({("a", 0): evaluation(None), ("b", 0): evaluation(3.0)}, ("gt_known_loc", "top1_cls"), "a", SMALL)
    assert table.scores["a"]["gt_known_loc"] is None
    assert table.differences["b"]["gt_known_loc"] is None
    assert "| a | 1 | - |  | 50.0 ± 0.0 |" in to_markdown(table)


def test_protocols_do_not_mix() -> None:
    with pytest.raises(DataError, match="several protocols"):
        summarise({("a", 0): evaluation(1.0), ("b", 0): evaluation(1.0, "sat")}, ("gt_known_loc",), "a", SMALL)


def test_one_recipe_is_said_once_and_several_have_a_column() -> None:
    table = summarise(RESULTS, ("gt_known_loc",), "a", SMALL)
    assert to_markdown(table).startswith("Percent, protocol wsol, recipe small, mean")
    assert to_table(table).title == "percent, protocol wsol, recipe small, mean ± standard deviation over seeds"
    recipes = {"a": "small without border prior", "b": "small"}
    table = summarise(RESULTS, ("gt_known_loc",), "a", recipes)
    text = to_markdown(table)
    assert "| row | recipe | seeds |" in text
    assert "| a | small without border prior | 2 |" in text
    assert "| centred box* |  |  |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert [row["recipe"] for row in csv.DictReader(io.StringIO(to_csv(table)))] == list(recipes.values())
    assert table.to_json()["recipes"] == recipes
    assert [column.header for column in to_table(table).columns][:3] == ["row", "recipe", "seeds"]
