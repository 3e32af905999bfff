"""The prior of a tiny run measured by itself, and its grid collected with it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import TINY, draw_neu

import collect_results
import prior_alone
from cdtr.cli import main
from results_csv import read_lines


def run_script(script: Any, *arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
        return int(script.main())


def run_cdtr(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert not stopped.value.code


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def neu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_neu(tmp_path_factory.mktemp("neu") / "NEU-DET")


@pytest.fixture(scope="module")
def out(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid's folder: a run with a guide and the prior of it, and a copy that says it had no guide."""
    out = tmp_path_factory.mktemp("grid")
    guided, plain = out / "runs/catr-0", out / "runs/plain-0"
    settings = [word for setting in (*TINY, "method=catr") for word in ("--set", setting)]
    run_cdtr("train", neu, "--out", guided, "--config", "small", *settings)
    run_cdtr("calibrate", guided, "--data", neu)
    run_cdtr("evaluate", guided, "--data", neu, "--json", guided / "evaluation.json")
    shutil.copytree(guided, plain)
    config = (plain / "config.yaml").read_text(encoding="utf-8")
    assert "guide:\n  enabled: true" in config
    (plain / "config.yaml").write_text(config.replace("guide:\n  enabled: true", "guide:\n  enabled: false"))
    (out / "grid.json").write_text("{}")
    (out / "configs").mkdir()
    for row in ("catr", "plain"):
        (out / f"configs/{row}.yaml").touch()
    assert run_script(prior_alone, guided, "--data", neu, "--device", "cpu") == 0
    return out


def test_the_prior_is_measured_as_the_run_is(out: Path) -> None:
    prior, run = (read(out / "runs/catr-0" / name) for name in ("prior.json", "evaluation.json"))
    for key in ("protocol", "split", "n_images", "n_annotated", "threshold_source", "baselines"):
        assert prior[key] == run[key], key
    assert prior["metrics"]["top1_cls"] == run["metrics"]["top1_cls"], "the classes are the run's"
    assert prior["method"] == "prior border"
    assert prior["curves"]["largest_contour"] != run["curves"]["largest_contour"], "the maps are not"


def test_a_run_without_a_guide_is_refused_in_a_line(out: Path, neu: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_script(prior_alone, out / "runs/plain-0", "--data", neu) == 2
    (only,) = capsys.readouterr().err.splitlines()
    assert "without a guide" in only
    assert not (out / "runs/plain-0/prior.json").exists()


def test_its_threshold_is_not_chosen_on_the_images_that_it_is_measured_on(
    out: Path, neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(prior_alone, out / "runs/catr-0", "--data", neu, "--split", "held-out") == 2
    assert "choose another --split" in capsys.readouterr().err


def test_the_grid_is_collected_with_it(out: Path, tmp_path: Path) -> None:
    csv = tmp_path / "neu.csv"
    assert run_script(collect_results, out, "--csv", csv, "--data", "NEU-DET", "--machine", "a test") == 0
    lines = {line["row"]: line for line in read_lines(csv)}
    methods = {row: line["method"] for row, line in lines.items()}
    assert methods == {"catr": "catr", "plain": "catr", "prior": "prior border"}
    assert lines["prior"]["recipe"] == lines["catr"]["recipe"] == "small"
    run = read(out / "runs/catr-0/evaluation.json")
    assert lines["catr"]["gt_known_loc"] == f"{run['metrics']['gt_known_loc']:.3f}"
    assert lines["catr"]["oracle_gt_known_loc"] == f"{run['oracle']['gt_known_loc']:.3f}"
    assert float(lines["catr"]["gt_known_loc_iou30"]) >= float(lines["catr"]["gt_known_loc"])
    assert lines["catr"]["machine"].startswith("a test, torch ")
    assert str(out) not in csv.read_text(encoding="utf-8")
