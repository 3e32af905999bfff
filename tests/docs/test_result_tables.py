"""The tables of the docs are those that results/*.csv give, and are formatted as they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cdtr.errors import ConfigError, DataError
from collect_results import MACHINE_PATH
from make_tables import fill, fill_summary, make, read_results
from result_tables import (
    NOT_MEASURED,
    SummaryRow,
    TableOptions,
    cell,
    difference_cell,
    load_summary,
    load_tables,
    render,
    seeds_text,
)
from results_csv import COLUMNS, write_lines

PROJECT = Path(__file__).resolve().parents[2]
MARKERS = "Before.\n\n<!-- table: made -->\n<!-- /table -->\n\nAfter.\n"
TABLES = """
defaults: {metrics: [gt_known_loc, gt_known_loc_iou30], values: [gt_known_loc], compared: [gt_known_loc]}
tables:
  made:
    rows: {catr: "`catr`, whole", tscam: null, never: "not run"}
    differences: [[catr, tscam], [catr, never]]
"""
WRITTEN = """
```
cdtr ablate GRID --out OUT
```

MADE, 360 images of `val`; protocol `wsol`; thresholds on 144 images; seeds 0 to 2; revision 0123456; two cores.

|  | recipe | GT-known Loc | at IoU 0.3 |
| --- | --- | --- | --- |
| `catr`, whole, seeds 0, 1 | small | 50.0 ± 2.8 (48.0, 52.0) | 80.0 ± 0.0 |
| `tscam` | paper | 30.0 ± 10.0 (20.0, 30.0, 40.0) | - |
| full image | - | 16.1 | - |
| best centred box | - | 21.4 to 22.0 | - |

Differences of the same seed: mean ± standard deviation, standard error of the mean, seeds above 0.

| difference | GT-known Loc |
| --- | --- |
| `catr` - `tscam` | +25.0 ± 4.2, s.e. 3.0, 2 of 2 |

"""


def line(row: str, seed: int, gt_known: float, **more: str) -> dict[str, str]:
    known = {
        "table": "made",
        "row": row,
        "seed": str(seed),
        "command": "cdtr ablate GRID --out OUT",
        "data": "MADE",
        "split": "val",
        "revision": "0123456",
        "machine": "two cores",
        "recipe": "small" if row == "catr" else "paper",
        "protocol": "wsol",
        "threshold_source": "on 144 images",
        "n_images": "360",
        "n_annotated": "360",
        "gt_known_loc": f"{gt_known:.3f}",
        "gt_known_loc_iou30": "80.000" if row == "catr" else "",
        "full_image_gt_known_loc": "16.111",
        "centre_box_gt_known_loc": "21.389" if row == "catr" else "22.000",
    }
    return {**dict.fromkeys(COLUMNS, ""), **known, **more}


LINES = [
    line("catr", 0, 48),
    line("catr", 1, 52),
    line("tscam", 0, 20),
    line("tscam", 1, 30),
    line("tscam", 2, 40),
    line("hidden", 0, 99),
    line("catr", 5, 99, table="other"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """docs/ with one page and results/ with one file."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "docs/page.md").write_text(MARKERS, encoding="utf-8")
    (tmp_path / "results/tables.yaml").write_text(TABLES, encoding="utf-8")
    write_lines(tmp_path / "results/made.csv", LINES)
    return tmp_path


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "benchmarks/make_tables.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_tables_of_the_docs_are_up_to_date() -> None:
    done = run_script("--check")
    assert done.returncode == 0, done.stderr


def test_results_hold_no_path_of_a_machine() -> None:
    for path in sorted((PROJECT / "results").glob("*.csv")):
        assert not MACHINE_PATH.search(path.read_text(encoding="utf-8")), path.name


def test_a_page_is_written_and_then_up_to_date(project: Path) -> None:
    folders = ("--docs", project / "docs", "--results", project / "results")
    before = run_script("--check", *folders)
    assert before.returncode == 1
    assert before.stderr.splitlines() == ["out of date: made; write them with `python benchmarks/make_tables.py`"]
    assert (project / "docs/page.md").read_text(encoding="utf-8") == MARKERS
    assert run_script(*folders).returncode == 0
    written = (project / "docs/page.md").read_text(encoding="utf-8")
    assert written == MARKERS.replace("-->\n<!--", f"-->\n{WRITTEN}<!--")
    assert run_script("--check", *folders).returncode == 0
    changed = [line("catr", 0, 48.06), *LINES[1:]]
    write_lines(project / "results/made.csv", changed)
    assert run_script("--check", *folders).returncode == 1


def test_a_table_without_lines_says_so(project: Path) -> None:
    (project / "results/made.csv").unlink()
    assert make(project / "docs", project / "results", check=False) == ["made"]
    assert NOT_MEASURED in (project / "docs/page.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("values", "each", "text"),
    [
        ([43.94], True, "43.9"),
        ([1.0, 2.0], False, "1.5 ± 0.7"),
        ([1.0, 2.0, 3.0], True, "2.0 ± 1.0 (1.0, 2.0, 3.0)"),
    ],
    ids=["one seed", "no values", "values"],
)
def test_cell(values: list[float], each: bool, text: str) -> None:
    assert cell(values, each) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([-0.44], "-0.4, 0 of 1"),
        ([0.0, 0.0], "+0.0 ± 0.0, s.e. 0.0, 0 of 2"),
        ([1.0, 2.0, 3.0, -2.0], "+1.0 ± 2.2, s.e. 1.1, 3 of 4"),
    ],
    ids=["one seed", "none above", "some"],
)
def test_difference_cell(values: list[float], text: str) -> None:
    assert difference_cell(values) == text


@pytest.mark.parametrize(
    ("seeds", "text"),
    [([3], "seed 3"), ([1, 0], "seeds 0, 1"), ([0, 2, 1], "seeds 0 to 2"), ([0, 1, 3], "seeds 0, 1, 3")],
    ids=["one", "two", "all", "gap"],
)
def test_seeds(seeds: list[int], text: str) -> None:
    assert seeds_text(seeds) == text


@pytest.mark.parametrize("column", ["protocol", "split", "n_images", "data"])
def test_rows_that_were_not_measured_alike_do_not_stand_in_one_table(column: str) -> None:
    options = TableOptions(rows={"catr": None, "tscam": None})
    with pytest.raises(DataError, match=f"'other' as {column}|as {column}, .*'other'"):
        render("made", options, [LINES[0], line("tscam", 0, 20, **{column: "other"})])


@pytest.mark.parametrize(
    "page",
    [
        "<!-- table: made -->\n",
        "<!-- /table -->\n",
        f"{MARKERS}<!-- table: made -->\n",
        "<!-- table: made -->" + MARKERS,
    ],
    ids=["open", "close", "second open", "nested"],
)
def test_a_marker_without_its_other_half_is_refused(page: str) -> None:
    with pytest.raises(DataError, match="needs a"):
        fill(page, {"made": TableOptions(rows={"catr": None})}, LINES, "page.md")


def test_names_that_are_unknown_are_refused(project: Path) -> None:
    with pytest.raises(DataError, match=r"table made is not in tables\.yaml"):
        fill(MARKERS, {}, LINES, "page.md")
    tables = project / "results/tables.yaml"
    tables.write_text(TABLES + "  lost: {rows: {catr: null}}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"table lost .* on no page"):
        make(project / "docs", project / "results", check=True)
    tables.write_text(TABLES.replace("gt_known_loc_iou30", "gt_known"), encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown 'gt_known'"):
        load_tables(tables)


def test_the_table_of_all_sets_says_what_is_not_measured() -> None:
    rows = {
        "made": SummaryRow(label="Made", anchor="made", row="catr", salient="tscam"),
        "other": SummaryRow(label="Other", anchor="other", row="catr"),
        "never": SummaryRow(label="Never", anchor="never"),
    }
    page = "Before.\n\n<!-- summary -->\n<!-- /summary -->\n\nAfter.\n"
    filled, stale = fill_summary(page, rows, LINES, "docs/")
    assert stale == ["summary"]
    assert fill_summary(filled, rows, LINES, "docs/") == (filled, [])
    body = [line for line in filled.splitlines() if line.startswith("| [")]
    assert body == [
        "| [Made](docs/benchmarks.md#made) | 360 | 21.4 (-) | 30.0 ± 10.0 | 50.0 ± 2.8 | not measured | 2 |",
        "| [Other](docs/benchmarks.md#other) | 360 | 21.4 (-) | not measured | 99.0 | not measured | 1 |",
        "| [Never](docs/benchmarks.md#never) |  | not measured | not measured | not measured | not measured |  |",
    ]
    assert filled.startswith("Before.")
    assert filled.endswith("After.\n")


def test_the_table_of_all_sets_fills_the_readme(project: Path) -> None:
    tables = project / "results/tables.yaml"
    tables.write_text(f"summary: {{made: {{label: Made, anchor: made, row: catr}}}}\n{TABLES}", encoding="utf-8")
    (project / "README.md").write_text("<!-- summary -->\n<!-- /summary -->\n", encoding="utf-8")
    assert load_summary(tables)["made"].salient == "salient"
    assert make(project / "docs", project / "results", check=False) == ["made", "summary"]
    assert "[Made](docs/benchmarks.md#made)" in (project / "README.md").read_text(encoding="utf-8")
    assert make(project / "docs", project / "results", check=True) == []


def test_two_files_do_not_have_the_same_line(project: Path) -> None:
    write_lines(project / "results/again.csv", LINES[:1])
    with pytest.raises(DataError, match="both have catr, seed 0 of made"):
        read_results(project / "results")
