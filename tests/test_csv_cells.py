"""Names in CSV cells are no formulas, and come back as they were."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdtr.csv_cells import from_cell, to_cell
from cdtr.reports.tables import csv_text

FORMULAS = ("=cmd|'/C calc'!A0.jpg", "+1+1.jpg", "-2+3.jpg", "@SUM(1).jpg", "\t=1", "＝1.jpg")


@given(st.text(alphabet="'=+-@\t\r\n＝ab1", max_size=6))
def test_every_text_comes_back(text: str) -> None:
    assert from_cell(to_cell(text)) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_starts_like_a_formula(text: str) -> None:
    assert to_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["a.jpg", "dir/-a.jpg", "'quoted'.jpg", "", " =1"])
def test_other_texts_stay(text: str) -> None:
    assert to_cell(text) == text == from_cell(text)


def test_tables_guard_names_and_leave_figures() -> None:
    figures = ["-", "-0.5 ± 0.2", "+1.0", "12.0–13.5", "-1e-05"]
    (row,) = csv.reader(io.StringIO(csv_text([], [["=1+1", "@row", *figures, -3.0]]).lstrip("\n")))
    assert row == ["'=1+1", "'@row", *figures, "-3.0"]
