"""The paper's values beside ours, in each format."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from rich.console import Console

from cdtr.config import load_reproduction, reproduction_names
from cdtr.errors import DataError
from cdtr.reports.paper_figure import iou_data, iou_figure, sweep_figure, sweep_values, training_data, training_figure
from cdtr.reports.paper_table import IN_LATEX, Findings, check_paper_metrics, compare, to_csv, to_latex, to_markdown
from cdtr.reports.paper_terminal import to_tables
from cdtr.runs import RunFolder


def evaluation(loc: float, protocol: str = "wsol") -> dict[str, Any]:
    return {
        "protocol": protocol,
        "split": "val",
        "n_images": 360,
        "n_annotated": 360,
        "threshold_source": "calibrated on held-out training images",
        "metrics": {"top1_loc": loc, "top5_loc": loc + 5, "gt_known_loc": loc + 10, "median_iou": loc},
        "baselines": {"centre_box": {"top1_loc": 19.4}, "full_image": {"top1_loc": 15.8}},
        "oracle": {"top1_loc": loc + 1},
        "iou_percentiles": {"5": 1.0, "25": loc - 10, "50": loc, "75": loc + 10, "95": 90.0},
    }


def neu(**changes: Any) -> dict[str, Findings]:
    known: dict[str, Any] = {
        "protocol": "wsol",
        "preset": "neu-det-small",
        "data_name": "NEU_100%",
        "evaluations": {"catr": {0: evaluation(30.0), 1: evaluation(34.0)}, "cdtr": {0: evaluation(20.0)}},
        "notes": {"ski": "left out", "cdtr": "without SBA, 1 of 2 seeds done"},
    }
    return {"brain-tumor": Findings("wsol", "brain-tumor"), "neu-det": Findings(**(known | changes))}


def test_markdown_has_paper_ours_difference_and_protocol() -> None:
    found = load_reproduction("XIV")
    text = to_markdown(found, compare(found, neu()))
    lines = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in _table(text, "NEU-DET")
    }
    assert lines["CATR"] == ["✓", "", "", "19.82", "32.0 ± 2.8", "+12.2", "wsol", "2", ""]
    assert lines["CDTR"] == ["✓", "✓", "✓", "21.00", "20.0", "-1.0", "wsol", "1", "without SBA, 1 of 2 seeds done"]
    assert lines["CATR + SKI"] == ["✓", "✓", "", "20.77", "-", "", "", "", "left out"]
    assert lines["centred box*"][4] == "19.4"
    assert "360 val images of NEU_100%, protocol wsol, calibrated on held-out" in text
    assert "numbers of different protocols are not comparable" in text
    assert "Ours: nothing yet." in text.split("## NEU-DET")[0]


def test_a_note_of_all_lines_is_said_once() -> None:
    found = load_reproduction("XIV")
    reason = "no data: give --data brain-tumor=DIR"
    missing = Findings("wsol", "brain-tumor", notes=dict.fromkeys(found.table.rows, reason))
    parts = compare(found, neu() | {"brain-tumor": missing})
    assert parts[0].facts == "Ours: nothing yet. No data: give --data brain-tumor=DIR."
    text = to_markdown(found, parts)
    assert text.count("no data") + text.count("No data") == 1
    assert text.count("| note") == 1, "in the part whose lines differ"
    assert all(row["note"] == reason for row in csv.DictReader(io.StringIO(to_csv(found, parts[:1]))))


def _table(markdown: str, section: str) -> list[str]:
    return [line for line in markdown.split(f"## {section}")[1].splitlines() if line.startswith("|")]


def test_csv_has_every_seed() -> None:
    found = load_reproduction("XIV")
    rows = list(csv.DictReader(io.StringIO(to_csv(found, compare(found, neu())))))
    catr = next(row for row in rows if (row["data"], row["row"]) == ("neu-det", "catr"))
    assert catr["paper"] == "19.82"
    assert catr["ours"] == "32"
    assert catr["difference"] == "12.18"
    assert catr["values"] == "30.000 34.000"
    assert catr["seeds"] == "0 1"
    assert catr["ours_at_best_threshold"] == "33"
    assert catr["paper_protocol"] == "cdtr"
    assert catr["protocol"] == "wsol"
    trivial = next(row for row in rows if row["row"] == "centre_box")
    assert trivial["ours"] == "19.4"
    assert trivial["paper"] == ""
    assert {row["data"] for row in rows} == {"brain-tumor", "neu-det"}


def test_latex_is_escaped_and_plain_ascii() -> None:
    found = load_reproduction("XIV")
    text = to_latex(found, compare(found, neu()))
    assert "NEU\\_100\\%" in text
    assert r"32.0 $\pm$ 2.8" in text
    assert r"\checkmark" in text
    assert text.isascii()
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == text.count(r"\bottomrule") == 2


@pytest.mark.parametrize("name", [name for name in reproduction_names() if name.startswith("table-")])
def test_latex_has_the_notes_and_the_star_under_each_table(name: str) -> None:
    """A baseline's name has a star only where there is a baseline."""
    found = load_reproduction(name)
    shown = found.table.model_copy(update={"notes": (*found.table.notes, "50% of A_b & #1 {x} ± 2")})
    found = type(found)(found.name, shown, found.data)
    (first, *others) = found.data
    measured = {next(iter(found.table.rows)): {0: evaluation(30.0)}}
    findings = {first: Findings("wsol", "small", "D", measured)} | {data: Findings("wsol", data) for data in others}
    parts = compare(found, findings)
    tables = to_latex(found, parts).split("\n\n")
    assert len(tables) == len(parts)
    for table, part in zip(tables, parts, strict=True):
        below = table.partition("\\end{tabular}\n")[2]
        lines = ["* chosen on the evaluated images, which flatters it."] if part.baselines else []
        lines += [re.sub(r"([%&#_{}$])", r"\\\1", note) for note in shown.notes]
        for sign, command in IN_LATEX.items():
            lines = [line.replace(sign, command) for line in lines]
        small = "\\par\\smallskip\\raggedright\\footnotesize\n"
        assert below.rstrip() == small + "".join(f"{line}\\par\n" for line in lines) + "\\end{table}"
        assert table.isascii()
        assert bool(part.baselines) == ("box*" in table)


def test_costs_need_no_run() -> None:
    found = load_reproduction("XI")
    costs = {"tscam": {"parameters": 22.357, "ms_per_image": 87.4, "memory": 89.1}}
    findings = {"cub": Findings("wsol", "cub", costs=costs, cost_machine="2 threads")}
    (part,) = compare(found, findings)
    assert part.facts == (
        "Ours: preset cub, costs on 2 threads. The paper's times and memory are those of a GPU and ours are not, so no "
        "difference is given for them."
    )
    assert [part.lines[0].difference(index) for index in range(4)] == [pytest.approx(-0.003), None, None, None]
    line = next(line for line in _table(to_markdown(found, [part]), "CUB-200-2011") if "TS-CAM" in line)
    cells = [cell.strip() for cell in line.split("|")[2:10]]
    assert cells == ["224²", "22.36", "22.36", "-0.00", "0.544", "87.40", "", "171.19"]
    on_gpu = {"cub": Findings("wsol", "cub", costs=costs, cost_machine="GPU", on_gpu=True)}
    (part,) = compare(found, on_gpu)
    assert part.lines[0].difference(1) == pytest.approx(87.4 - 0.544)
    assert part.facts == "Ours: preset cub, costs on GPU."


@pytest.mark.parametrize("name", [name for name in reproduction_names() if name.startswith("table-")])
def test_the_papers_cells_are_not_rounded(name: str) -> None:
    found = load_reproduction(name)
    parts = compare(found, {data: Findings("wsol", data) for data in found.data})
    texts = [to_markdown(found, parts), to_latex(found, parts), printed(found, parts, 80)]
    values = [value for row in found.table.rows.values() for value in _known(row.paper.values())]
    for value in values:
        shown = f"{value:.2f}" if round(value, 2) == value else str(value)
        assert all(re.search(rf"(?<![\d.]){re.escape(shown)}(?![\d.])", text) for text in texts), shown
    in_csv = csv.DictReader(io.StringIO(to_csv(found, parts)))
    assert sorted(float(row["paper"]) for row in in_csv if row["paper"] and row["row"] != "difference") == sorted(
        values
    )


def printed(found: Any, parts: Any, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    for table in to_tables(found, parts, console):
        console.print(table)
    return console.export_text()


@pytest.mark.parametrize("name", [name for name in reproduction_names() if name.startswith("table-")])
def test_a_terminal_of_80_columns_cuts_no_number(name: str) -> None:
    found = load_reproduction(name)
    of_seeds = {0: evaluation(30.0), 1: evaluation(34.0), 2: evaluation(33.0)}
    runs = dict.fromkeys([row for row, of in found.table.rows.items() if of.settings is not None], of_seeds)
    costs = {
        "parameters": 22.3,
        "layer_multiply_adds": 4.49,
        "multiply_adds": 4.84,
        "ms_per_image": 919.8,
        "memory": 1.0,
    }
    known = [Findings("wsol", data, "D", runs, dict.fromkeys(runs, costs), {"lctr": "left"}) for data in found.data]
    parts = compare(found, dict(zip(found.data, known, strict=True)))
    text = printed(found, parts, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert ("32.3 ± 2.1" in text) is ("top1_loc" in found.table.metrics)


def _known(values: Any) -> list[float]:
    return [value for some in values for value in some if value is not None]


def test_a_tables_own_row_of_differences_is_of_the_same_seeds() -> None:
    found = load_reproduction("IX")
    runs = {
        "fixed": {0: evaluation(30.0), 1: evaluation(34.0)},
        "automatic": {1: evaluation(37.0), 2: evaluation(10.0)},
    }
    (part,) = compare(found, {"cub": Findings("wsol", "cub", "D", runs)})
    last = part.lines[-1]
    assert last.paper == (0.94, 0.77, 0.82)
    assert last.seeds == (1,)
    assert [spread.mean for spread in last.ours if spread] == [3.0, 3.0, 3.0]
    line = next(line for line in _table(to_markdown(found, [part]), "CUB-200-2011") if "+ Δ" in line)
    assert [cell.strip() for cell in line.split("|")[2:5]] == ["+0.94", "+3.0", "+2.1"]
    (bare,) = compare(found, {"cub": Findings("wsol", "cub")})
    assert bare.lines[-1].ours == (None, None, None)


def test_another_recipe_is_a_note() -> None:
    found = load_reproduction("XIV")
    recipes = {"catr": "small", "ski": "paper", "sba": "small", "cdtr": "small with fidelity official"}
    parts = compare(found, neu(recipes=recipes))
    lines = {line.row: line.note for line in parts[1].lines}
    assert lines == {
        "catr": "recipe small",
        "ski": "left out",
        "sba": "",
        "cdtr": "recipe small with fidelity official, without SBA, 1 of 2 seeds done",
    }, "the paper's recipe, and what was not measured, need no note"
    rows = list(csv.DictReader(io.StringIO(to_csv(found, parts))))
    assert {row["recipe"] for row in rows if row["row"] == "catr" and row["data"] == "neu-det"} == {"small"}
    runs = {row: {0: evaluation(30.0)} for row in found.table.rows}
    shared = neu(evaluations=runs, notes={}, recipes=dict.fromkeys(runs, "small"))
    part = compare(found, shared)[1]
    assert part.facts.endswith(" Recipe small.")
    for text in (to_markdown(found, [part]), to_latex(found, [part]), printed(found, [part], 80)):
        assert "Recipe small." in " ".join(text.split())


def test_an_unknown_metric_is_refused() -> None:
    found = load_reproduction("IX")
    changed = type(found)(found.name, found.table.model_copy(update={"metrics": ("top1_lok",)}), found.data)
    with pytest.raises(DataError, match="unknown metric 'top1_lok'"):
        check_paper_metrics(changed)


def test_a_sweep_is_drawn_over_its_setting() -> None:
    found = load_reproduction("figure-9")
    values = sweep_values(found)
    assert values["alpha-0.01"] == 0.01
    assert values["alpha-2.4"] == 2.4
    evaluations = {"alpha-2.4": {0: evaluation(30.0), 1: evaluation(32.0)}, "alpha-1.2": {0: evaluation(28.0)}}
    parts = compare(found, {"cub": Findings("wsol", "cub", "CUB", evaluations), "ilsvrc": Findings("wsol", "ilsvrc")})
    rows = list(csv.DictReader(io.StringIO(to_csv(found, parts, values))))
    drawn = {row["x"]: row["ours"] for row in rows if row["data"] == "cub" and row["metric"] == "top1_loc" and row["x"]}
    assert drawn["2.4"] == "31"
    assert drawn["1.2"] == "28"
    assert drawn["4.8"] == ""
    cub, ilsvrc = sweep_figure(found, parts).axes
    assert list(cub.containers[0].lines[0].get_xdata()) == [1.2, 2.4]
    assert list(cub.containers[0].lines[0].get_ydata()) == [28.0, 31.0]
    assert ilsvrc.get_xscale() == "log"
    assert cub.get_xlabel() == "sba.alpha"
    assert any(line.get_marker() == "x" and list(line.get_ydata()) == [58.20] for line in ilsvrc.lines)


def test_the_spread_of_iou() -> None:
    found = load_reproduction("figure-5")
    evaluations = {"cub": {"catr": {0: evaluation(60.0), 3: evaluation(70.0)}}, "ilsvrc": {}}
    parts = compare(found, {name: Findings("wsol", name, "D", evaluations[name]) for name in found.data})
    rows = list(csv.DictReader(io.StringIO(iou_data(found, evaluations))))
    assert [(row["seed"], row["p25"], row["p50"]) for row in rows] == [
        ("0", "50.000", "60.000"),
        ("3", "60.000", "70.000"),
    ]
    axes = iou_figure(found, parts, evaluations).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["CATR"]
    assert any(line.get_marker() == "x" and list(line.get_ydata()) == [78.4] for line in axes.lines)


def test_lambdas_and_losses_over_the_steps(tmp_path) -> None:
    log = (
        '{"kind": "step", "step": 10, "epoch": 0, "terms": {"cls": 2.0, "total": 9.0}, "lambdas": {"cls": 1.0}}\n'
        '{"kind": "step", "step": 20, "epoch": 0, "terms": {"cls": 1.0, "total": 7.5}, "lambdas": {"cls": 0.9}}\n'
        '{"kind": "epoch", "step": 20, "epoch": 0, "terms": {"cls": 1.5, "total": 8.0}, "lambdas": {"cls": 0.9}}\n'
    )
    (tmp_path / "metrics.jsonl").write_text(log)
    for name, field, values in (("figure-10", "lambdas", [1.0, 0.9]), ("figure-11", "terms", [9.0, 7.5])):
        found = load_reproduction(name)
        runs = {"cub": {"cdtr": {2: RunFolder(tmp_path)}}}
        parts = compare(found, {"cub": Findings("wsol", "cub")})
        rows = list(csv.DictReader(io.StringIO(training_data(found, runs, field))))
        shown = [row for row in rows if row["name"] == ("cls" if field == "lambdas" else "total")]
        assert [(row["step"], float(row["value"]), row["seed"]) for row in shown] == [
            ("10", values[0], "2"),
            ("20", values[1], "2"),
        ]
        (axes,) = training_figure(found, parts, runs, field).axes
        assert [list(line.get_ydata()) for line in axes.lines] == [values]
        parts = compare(found, {"cub": Findings("wsol", "small", recipes={"cdtr": "small"})})
        (axes,) = training_figure(found, parts, runs, field).axes
        assert axes.get_title() == "CUB-200-2011, recipe small"
