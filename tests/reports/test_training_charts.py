"""A training's log as charts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cdtr.reports.curves import last_likeness, training_charts
from cdtr.reports.page import Chart
from cdtr.runs import RunFolder

TERMS = {"cls": 0.5, "csm": 1.0, "total": 3.0}


def run_with(folder: Path, *records: dict[str, Any], rest: str = "") -> RunFolder:
    run = RunFolder(folder)
    run.metrics_file.write_text("".join(json.dumps(record) + "\n" for record in records) + rest)
    return run


def epoch(number: int, **changes: Any) -> dict[str, Any]:
    values = {"terms": TERMS, "lambdas": {"cls": 0.9, "csm": 1.1}, "held_out": {"top1_cls": 40.0 + number}}
    values |= {"attention": {"class_map": 0.25 * number - 0.5}}
    return {"kind": "epoch", "epoch": number, "step": 4 * (number + 1), **values, **changes}


def svg(chart: Chart) -> str:
    kind, _, content = chart.uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return base64.b64decode(content).decode()


def test_every_chart_says_in_words_where_it_ends(tmp_path: Path) -> None:
    run = run_with(tmp_path, *(epoch(number) for number in range(4)))
    charts = {chart.title: chart for chart in training_charts(run)}
    assert list(charts) == [
        "Total loss (Eq. 2)",
        "Loss terms",
        "Weights λ of the losses",
        "Attention like the class map",
        "Class of held-out images",
    ]
    assert "cls 0.500, csm 1.000" in charts["Loss terms"].alt
    assert "cls 0.90, csm 1.10" in charts["Weights λ of the losses"].alt
    assert "from -0.50 to 0.25" in charts["Attention like the class map"].alt
    assert "at last 43.0" in charts["Class of held-out images"].alt
    assert ">cls<" in svg(charts["Loss terms"]), "letters stay letters"
    assert last_likeness(run) == pytest.approx(0.25)


def test_the_same_log_gives_the_same_bytes(tmp_path: Path) -> None:
    run = run_with(tmp_path, epoch(0), epoch(1))
    assert training_charts(run) == training_charts(run)


def test_plain_run_without_lambdas_and_held_out_images(tmp_path: Path) -> None:
    run = run_with(tmp_path, epoch(0, lambdas={}, held_out={}, attention={}))
    assert [chart.title for chart in training_charts(run)] == ["Total loss (Eq. 2)", "Loss terms"]
    assert last_likeness(run) is None


def test_long_log_is_thinned_to_means(tmp_path: Path) -> None:
    steps = [
        {"kind": "step", "epoch": 0, "step": 10 * (n + 1), "terms": {**TERMS, "total": float(n % 2)}, "lambdas": {}}
        for n in range(5000)
    ]
    run = run_with(tmp_path, *steps, epoch(0, step=50000, lambdas={}))
    (total, *_) = training_charts(run)
    assert len(svg(total)) < 30_000
    assert "from 0.48 at first to 0.52 at last" in total.alt, "means of 25 steps each"


def test_no_log_and_a_line_that_was_cut(tmp_path: Path) -> None:
    assert training_charts(RunFolder(tmp_path / "none")) == []
    run = run_with(tmp_path, epoch(0), rest='{"kind": "epo')
    assert len(run.log("epoch")) == 1
