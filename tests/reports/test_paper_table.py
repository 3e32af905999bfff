"""The paper's values beside ours, in each format."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest

from cdtr.config import load_reproduction, reproduction_names
from cdtr.errors import DataError
from cdtr.reports.paper_figure import iou_data, iou_figure, sweep_figure, sweep_values, training_data, training_figure
from cdtr.reports.paper_table import Findings, check_paper_metrics, compare, to_csv, to_latex, to_markdown, to_tables
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
    assert [len(table.columns) for table in to_tables(found, parts)] == [9, 10]
    assert all(row["note"] == reason for row in csv.DictReader(io.StringIO(to_csv(found, parts[:1]))))


def _table(markdown: str, section: str) -> list[str]:
    return [line for line in markdown.split(f"## {section}")[1].splitlines() if line.startswith("|")]


def test_csv_has_every_seed() -> None:
    found = load_reproduction("XIV")
    rows = list(csv.DictReader(io.StringIO(to_csv(found, compare(found, neu())))))
    catr = next(row for row in rows if (row["data"], row["row"]) == ("neu-det", "catr"))
    assert (catr["paper"], catr["ours"], catr["difference"]) == ("19.82", "32", "12.18")
    assert (catr["values"], catr["seeds"], catr["ours_at_best_threshold"]) == ("30.000 34.000", "0 1", "33")
    assert (catr["paper_protocol"], catr["protocol"]) == ("cdtr", "wsol")
    trivial = next(row for row in rows if row["row"] == "centre_box")
    assert (trivial["ours"], trivial["paper"]) == ("19.4", "")
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
        lines += [re.sub(r"([%&#_{}$])", r"\\\1", note).replace("±", r"$\pm$") for note in shown.notes]
        small = "\\par\\smallskip\\raggedright\\footnotesize\n"
        assert below.rstrip() == small + "".join(f"{line}\\par\n" for line in lines) + "\\end{table}"
        assert table.isascii()
        assert bool(part.baselines) == ("box*" in table)


def test_costs_need_no_run() -> None:
    found = load_reproduction("XI")
    costs = {"tscam": {"parameters": 22.357, "ms_per_image": 87.4, "memory": 89.1}}
    findings = {"cub": Findings("wsol", "cub", costs=costs, cost_machine="2 threads")}
    (part,) = compare(found, findings)
    assert part.facts == "Ours: preset cub, costs on 2 threads."
    assert [part.lines[0].difference(index) for index in (0, 3)] == [pytest.approx(-0.003), None]
    line = next(line for line in _table(to_markdown(found, [part]), "CUB-200-2011") if "TS-CAM" in line)
    assert [cell.strip() for cell in line.split("|")[2:6]] == ["22.36", "22.36", "-0.00", "0.54"]
    assert len(list(to_tables(found, [part]))) == 1


def test_an_unknown_metric_is_refused() -> None:
    found = load_reproduction("IX")
    changed = type(found)(found.name, found.table.model_copy(update={"metrics": ("top1_lok",)}), found.data)
    with pytest.raises(DataError, match="unknown metric 'top1_lok'"):
        check_paper_metrics(changed)


def test_a_sweep_is_drawn_over_its_setting() -> None:
    found = load_reproduction("figure-9")
    values = sweep_values(found)
    assert (values["alpha-0.01"], values["alpha-2.4"]) == (0.01, 2.4)
    evaluations = {"alpha-2.4": {0: evaluation(30.0), 1: evaluation(32.0)}, "alpha-1.2": {0: evaluation(28.0)}}
    parts = compare(found, {"cub": Findings("wsol", "cub", "CUB", evaluations), "ilsvrc": Findings("wsol", "ilsvrc")})
    rows = list(csv.DictReader(io.StringIO(to_csv(found, parts, values))))
    drawn = {row["x"]: row["ours"] for row in rows if row["data"] == "cub" and row["metric"] == "top1_loc" and row["x"]}
    assert (drawn["2.4"], drawn["1.2"], drawn["4.8"]) == ("31", "28", "")
    cub, ilsvrc = sweep_figure(found, parts).axes
    assert list(cub.containers[0].lines[0].get_xdata()) == [1.2, 2.4]
    assert list(cub.containers[0].lines[0].get_ydata()) == [28.0, 31.0]
    assert (ilsvrc.get_xscale(), cub.get_xlabel()) == ("log", "sba.alpha")
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
