"""Methods x data sets x seeds through the command line: measured, resumed, and refused where it cannot work."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_helpers import TINY, draw_neu, in_fixture, in_process

import cdtr
from cdtr.config import load_config
from cdtr.workflows.cells import Cell

METRICS = ["gt_known_loc", "top1_cls", "max_box_acc_v2", "pxap"]


@pytest.fixture
def plan(tmp_path: Path) -> dict[str, Any]:
    """Two methods on two drawn data sets, with maps from elsewhere on the first."""
    (tmp_path / "tiny.yaml").write_text(load_config("small", TINY).to_yaml())
    for name in ("first", "second"):
        draw_neu(tmp_path / name, 3, 1)
    return {
        "data": {
            "first": {"path": "first", "references": {"salient": {"predictions": "maps", "threshold": 0.5}}},
            "second": {"path": "second", "settings": {"data": {"holdout": 0.5}}},
        },
        "config": "tiny.yaml",
        "seeds": [3],
        "rows": {"tscam": {"method": "tscam"}, "catr": {"method": "catr"}},
        "metrics": METRICS,
    }


@pytest.fixture
def grid(plan: dict[str, Any], tmp_path: Path) -> Path:
    (tmp_path / "maps" / "IMAGES").mkdir(parents=True)
    for name in (tmp_path / "first" / "val.txt").read_text().split():
        np.save(tmp_path / "maps" / "IMAGES" / f"{Path(name).stem}.npy", np.eye(8, dtype=np.float32))
    return write(tmp_path, plan)


def write(folder: Path, plan: dict[str, Any]) -> Path:
    path = folder / "methods.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands of each training here: twelve processes of their own would import PyTorch twelve times."""

    def run(cell: Cell, _environment: dict[str, str]) -> None:
        for command in cell.commands:
            in_fixture(*command)

    monkeypatch.setattr(Cell, "run", run)


@pytest.mark.usefixtures("in_this_process")
def test_methods_on_two_sets_become_one_table_and_the_second_call_trains_nothing(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown, _ = in_fixture("bench", grid, "--out", out, "--dry-run")
    assert "to do  second: catr, seed 3" in shown
    assert not out.exists()
    shown, _ = in_fixture("bench", grid, "--out", out, "--jobs", 1, "--json", tmp_path / "bench.json")
    assert f"wrote {out / 'bench.csv'}" in shown

    tree = json.loads((tmp_path / "bench.json").read_text())
    assert list(tree["data"]) == ["first", "second"]
    assert next(iter(tree["data"]["first"])) == "wsol"
    assert {"wsol", "tscam", "sat", "cdtr"} == set(tree["data"]["first"])
    lines = {line["name"]: line for line in tree["data"]["first"]["wsol"]}
    assert [line["kind"] for line in lines.values()].count("trivial") == 3, (
        "whole image, centred box, centred box a class"
    )
    assert lines["salient"]["values"]["gt_known_loc"]["low"] is not None
    evaluation = json.loads((out / "first" / "runs" / "catr-3" / "evaluation.json").read_text())
    assert lines["catr"]["values"]["gt_known_loc"]["mean"] == evaluation["protocols"]["wsol"]["metrics"]["gt_known_loc"]
    other = json.loads((out / "first" / "runs" / "tscam-3" / "evaluation.json").read_text())
    change = (evaluation["protocols"]["sat"]["metrics"]["top1_cls"]) - other["protocols"]["sat"]["metrics"]["top1_cls"]
    under_sat = {line["name"]: line for line in tree["data"]["first"]["sat"]}
    assert under_sat["catr"]["values"]["top1_cls"]["change"]["mean"] == pytest.approx(change)
    assert_costs(lines, out)

    with (out / "bench.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["data"] for row in rows} == {"first", "second"}
    assert sum(row["metric"] == "ms_per_image" for row in rows) == 4, "a row and data set, whatever the protocol"
    assert_page((out / "bench.html").read_text(encoding="utf-8"))
    assert_resumed(grid, out, tree)


def assert_costs(lines: dict[str, Any], out: Path) -> None:
    model = cdtr.load_model(out / "first" / "runs" / "catr-3")
    count = sum(parameter.numel() for parameter in model.parameters())
    values = lines["catr"]["values"]
    assert values["parameters"]["mean"] == pytest.approx(count / 1e6)
    assert values["trained_parameters"]["mean"] > values["parameters"]["mean"], "the guide is needed in training alone"
    assert values["ms_per_image"]["low"] <= values["ms_per_image"]["mean"] <= values["ms_per_image"]["high"]
    assert values["time_ratio"]["mean"] > 0.5


def assert_page(page: str) -> None:
    assert not re.search(r"(src|href)=\"https?:", page)
    assert 'data-key="ms_per_image" data-lower' in page
    assert page.count('<table class="sorted">') == 8, "two sets under four protocols"
    assert "&#39;" not in re.findall(r"<script>(.*)</script>", page, re.DOTALL)[0]


def assert_resumed(grid: Path, out: Path, tree: dict[str, Any]) -> None:
    """The second call trains, scores and times nothing, and sorts as it is asked to."""
    kept = [*out.glob("*/runs/*/evaluation.json"), *out.glob("*/costs.json"), *out.glob("*/references/*.json")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert len(before) == 7
    result = cdtr.bench(grid, out, sort="parameters")
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert result.table is not None
    assert list(result.files) == [out / "bench.csv", out / "bench.json", out / "bench.html"]
    again = result.table.to_json()["data"]["second"]["wsol"]
    counts = [line["values"]["parameters"]["mean"] for line in again if "parameters" in line["values"]]
    assert counts == sorted(counts)
    by_name = {line["name"]: line for line in tree["data"]["second"]["wsol"]}
    assert {line["name"]: line for line in again} == by_name
    assert repr(result) == f"BenchResult({out}: first, second)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {"a": {"ocn": {"k": 2}}}}, "data 'first', row 'a': "),
        ({"rows": {"a": {"method": "ctdr"}}}, "did you mean 'cdtr'"),
        ({"rows": {"a": {"ocm": {"k": 99}}}}, "data 'first', row 'a': ocm.k = 99"),
        ({"rows": {"a": {"config": 3}}}, "row 'a': config = 3: expected a preset or a YAML file"),
        ({"rows": {"a": {"config": "nowhere"}}}, "unknown preset 'nowhere'"),
        ({"rows": {"salient": {}}}, "reference 'salient': expected a name that a file may have and that no row has"),
        ({"data": {"a": "nowhere"}}, "data 'a': no folder"),
        (
            {"data": {"a": {"path": "first", "cofnig": "small"}}},
            "data 'a': unknown key 'cofnig', did you mean 'config'",
        ),
        ({"data": {"a": 3}}, "data 'a': 3: expected a path"),
        ({"data": {"a": None}}, "names no path of a data set: give --data a=DIR"),
        ({"data": {"logs": "first"}}, "found logs"),
        ({"data": {"a": {"path": "first", "references": {"b": {"predictions": "none"}}}}}, "reference 'b': no file"),
        ({"data": {"a": {"path": "first", "split": "tset"}}}, "no split 'tset'"),
        ({"metrics": ["gt_konwn_loc"]}, "unknown metric 'gt_konwn_loc'"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"base": "c"}, "base = 'c' is no row"),
        ({"dota": {}}, "unknown key 'dota', did you mean 'data'"),
    ],
    ids=[
        "typo",
        "method",
        "does not fit",
        "config",
        "preset",
        "names",
        "missing set",
        "set key",
        "set",
        "no path",
        "reserved",
        "missing maps",
        "split",
        "metric",
        "seeds",
        "base",
        "key",
    ],
)
def test_a_bench_that_cannot_work_is_refused_before_any_training(
    change: dict[str, Any],
    message: str,
    plan: dict[str, Any],
    grid: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path, {**plan, **change})
    code, _, err = in_process(capsys, "bench", grid, "--out", tmp_path / "out")
    assert code == 2, err
    assert message in err
    assert len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "out").exists()


def test_options_that_cannot_work_are_refused(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (("--data", "third=x"), "has no data set 'third': choose from first, second"),
        (("--data", "first"), "--data first: expected NAME=DIR"),
        (("--sort", "speed"), "--sort speed: no such column, choose one of gt_known_loc"),
        (("--rows", "nobody"), "the grid has no 'nobody', choose from tscam, catr"),
    ):
        code, _, err = in_process(capsys, "bench", grid, "--out", tmp_path / "out", *options)
        assert code == 2, err
        assert message in err
    (tmp_path / "ablation").mkdir()
    (tmp_path / "ablation" / "grid.json").write_text("{}")
    code, _, err = in_process(capsys, "bench", grid, "--out", tmp_path / "ablation")
    assert code == 2, err
    assert "holds the runs of one grid" in err


def test_a_folder_of_another_bench_is_refused_and_sets_can_lie_elsewhere(
    plan: dict[str, Any], grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settled = out / "first" / "configs" / "catr.yaml"
    settled.parent.mkdir(parents=True)
    settled.write_text(load_config("small").to_yaml())
    code, _, err = in_process(capsys, "bench", grid, "--out", out, "--dry-run")
    assert code == 2, err
    assert "catr.yaml has other settings than the grid has now" in err
    write(tmp_path, {**plan, "data": {"one": None, "two": None}})
    code, listed, err = in_process(
        capsys, "bench", grid, "--out", tmp_path / "new", "--data", f"two={tmp_path / 'first'}", "--dry-run"
    )
    assert code == 0, err
    assert listed.splitlines() == ["to do  two: tscam, seed 3", "to do  two: catr, seed 3"]
