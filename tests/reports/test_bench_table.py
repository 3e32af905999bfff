"""A bench's lines: sorted by any column, with intervals, differences and cost; as CSV, on a terminal and as a page."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from serving import open_browser

from cdtr.reports.ablation_table import summarise
from cdtr.reports.bench_page import bench_words, changed, shown, to_tables, write_bench
from cdtr.reports.bench_table import BenchTable, Line, RowCost, Value, make_lines, sort_lines

RECIPES = {"a": "small", "<b>": "small"}


def evaluation(loc: float, interval: list[float] | None, protocol: str = "wsol") -> dict[str, Any]:
    return {
        "protocol": protocol,
        "metrics": {"gt_known_loc": loc, "pxap": None},
        "intervals": {"gt_known_loc": interval, "pxap": None},
        "baselines": {"centre_box": {"gt_known_loc": 40.0}, "full_image": {"gt_known_loc": 15.0}},
    }


def results(protocol: str) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        ("a", 0): evaluation(30.0, [20.0, 40.0], protocol),
        ("a", 1): evaluation(50.0, [40.0, 60.0], protocol),
        ("<b>", 0): evaluation(60.0, [50.0, 70.0], protocol),
        ("<b>", 1): evaluation(70.0, None, protocol),
    }


COSTS = {
    "a": RowCost(2.0, 1.5, 2.5, 1.0, 30.0, 0.5, 2_000_000, 2_500_000),
    "<b>": RowCost(3.0, 2.5, 3.5, None, 40.0, 0.7, 1_000_000, 10_000),
}


def lines(protocol: str = "wsol", sort: str = "gt_known_loc") -> list[Line]:
    found = results(protocol)
    reference = {"salient": evaluation(55.0, [45.0, 65.0], protocol)}
    return make_lines(summarise(found, ("gt_known_loc", "pxap"), "a", RECIPES), found, COSTS, reference, sort)


@pytest.fixture
def table() -> BenchTable:
    by_protocol = {"wsol": lines("wsol"), "sat": lines("sat")}
    return BenchTable(
        ("gt_known_loc", "pxap"), "gt_known_loc", {"neu": by_protocol}, "a", {"neu": "2 threads"}, {"neu": ["a note"]}
    )


def test_a_line_has_mean_spread_interval_and_difference() -> None:
    a, b = (next(line for line in lines() if line.name == name) for name in ("a", "<b>"))
    loc = a.values["gt_known_loc"]
    assert loc.mean == 40
    assert loc.std == pytest.approx(14.142, abs=1e-3)
    assert loc.low == 30
    assert loc.high == 50
    assert loc.change is None
    assert "pxap" not in a.values
    assert b.values["gt_known_loc"].low is None, "a seed has no interval"
    change = b.values["gt_known_loc"].change
    assert change is not None
    assert change.values == (30, 20)
    assert a.values["trained_parameters"].mean == 2.5
    assert "time_ratio" not in b.values


def test_a_single_seed_has_no_deviation() -> None:
    found = {cell: result for cell, result in results("wsol").items() if cell[1] == 0}
    made = make_lines(summarise(found, ("gt_known_loc",), "a", RECIPES), found, {}, {}, "gt_known_loc")
    a, b = (next(line for line in made if line.name == name) for name in ("a", "<b>"))
    assert a.values["gt_known_loc"].std is None
    assert shown("gt_known_loc", a.values["gt_known_loc"]) == "30.0"
    assert changed(b.values["gt_known_loc"]) == "+30.0"


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("gt_known_loc", ["<b>", "salient", "a", "centred box*", "whole image"]),
        ("ms_per_image", ["a", "<b>", "salient", "whole image", "centred box*"]),
        ("parameters", ["<b>", "a", "salient", "whole image", "centred box*"]),
        ("time_ratio", ["a", "<b>", "salient", "whole image", "centred box*"]),
    ],
)
def test_lines_are_sorted_best_first_and_those_without_a_value_come_last(key: str, names: list[str]) -> None:
    assert [line.name for line in lines(sort=key)] == names


def test_equal_lines_keep_their_order() -> None:
    same = [Line("row", name, values={"pxap": Value(3.0)}) for name in "ba"]
    assert [line.name for line in sort_lines(same, "pxap")] == ["b", "a"]


def test_the_csv_has_a_line_for_each_protocol_and_cost_once(table: BenchTable) -> None:
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    scores = [row for row in rows if row["row"] == "<b>" and row["metric"] == "gt_known_loc"]
    assert [row["protocol"] for row in scores] == ["wsol", "sat"]
    assert scores[0]["values"] == "60.0000 70.0000"
    assert scores[0]["difference"] == "25.0000"
    assert [row["protocol"] for row in rows if row["metric"] == "memory_mib"] == ["", ""]
    assert {row["kind"] for row in rows} == {"row", "reference", "trivial"}


def test_the_terminal_shows_the_difference_in_the_column_that_sorts(table: BenchTable) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    for one in to_tables(table):
        console.print(one)
    shown = console.export_text()
    assert "neu: percent, protocol wsol" in shown
    assert re.search(r"<b>.*65\.0 ± 7\.1.*\+25\.0 ± 7\.1.*3\.0.*-.*40\.0.*1\.00", shown)


def test_the_page_needs_no_other_file_and_runs_its_own_script_alone(table: BenchTable, tmp_path: Path) -> None:
    page = tmp_path / "bench.html"
    write_bench(table, "methods", page)
    text = page.read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert "&lt;b&gt;" in text
    assert "<b>salient" not in text
    assert text.count('<table class="sorted">') == 2
    assert '<option value="gt_known_loc" selected>' in text
    assert 'data-key="gt_known_loc" aria-sort="descending"' in text
    assert re.search(r'data-value="65">65\.0 ± 7\.1<span class="soft">Δ \+25\.0 ± 7\.1', text)
    assert "a note" in text
    assert "cost on 2 threads" in text


def test_the_page_has_every_line_under_each_protocol_side_by_side(table: BenchTable) -> None:
    beside = bench_words(table, "methods")["parts"][0]["beside"]
    assert beside["protocols"] == ["wsol", "sat"]
    assert dict(beside["rows"])["a"] == ["40.0 ± 14.1", "40.0 ± 14.1"]
    assert len(beside["rows"]) == 5


def test_a_press_on_a_title_sorts_and_the_page_fits_a_phone(table: BenchTable, tmp_path: Path) -> None:
    """In Chromium, under the page's own content security policy."""
    write_bench(table, "methods", tmp_path / "bench.html")
    with open_browser() as opened:
        browser: Any = opened
        page = browser.new_page(viewport={"width": 360, "height": 700})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.goto((tmp_path / "bench.html").as_uri())

        def order() -> list[str]:
            shown = page.locator("[data-protocol]:visible tbody tr").evaluate_all(
                "rows => rows.map(row => row.cells[0].firstChild.textContent.trim())"
            )
            return [str(name) for name in shown]

        assert order() == ["<b>", "salient", "a", "centred box*", "whole image"]
        page.locator("[data-protocol]:visible [data-key=gt_known_loc] button").press("Enter")
        assert order() == ["whole image", "a", "centred box*", "salient", "<b>"]
        page.select_option("#sort", "ms_per_image")
        assert order()[:2] == ["a", "<b>"]
        page.select_option("#protocol", "sat")
        assert order()[:2] == ["a", "<b>"], "all tables are sorted"
        assert page.locator("[data-protocol]:visible").get_attribute("data-protocol") == "sat"
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.screenshot(path=tmp_path / "phone.png", full_page=True)
        assert faults == []
