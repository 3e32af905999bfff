"""The released code's settings from end to end: all images trained on, a fixed threshold, nothing calibrated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from cli_helpers import TINY, in_process, run_cdtr, tiny_settings

from cdtr.config import load_config
from cdtr.data.datasets.synthetic import generate

SETTINGS = [setting for setting in TINY if "holdout" not in setting]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "set"
    generate(root, n_train=32, n_val=16, size=72)
    return root


@pytest.fixture(scope="module")
def table(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of `cdtr reproduce V` with CATR as released, and what was said."""
    out = tmp_path_factory.mktemp("table") / "out"
    preset = out.parent / "tiny-official.yaml"
    preset.write_text(load_config("cub-official", [*SETTINGS, "backbone.weights=none"]).to_yaml())
    done = run_cdtr(
        *("reproduce", "V", "--data", drawn, "--preset", preset, "--rows", "tscam,catr", "--seeds", "0", "--out", out)
    )
    assert done.returncode == 0, done.stderr
    return out, done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(table: tuple[Path, str]) -> Path:
    (found,) = (table[0] / "runs" / "cub").glob("*-0")
    return found


def test_a_table_is_made_at_the_settings_threshold(table: tuple[Path, str], run: Path) -> None:
    out, said = table
    assert "cub: nothing is calibrated, evaluation.threshold = 0.2 is taken" in said
    assert not (run / "calibration.json").exists()
    found = json.loads((run / "evaluation.json").read_text())["protocols"]["cdtr"]
    assert found["threshold"] == 0.2
    assert found["threshold_source"] == "evaluation.threshold of the configuration"
    with (out / "table-5.csv").open(encoding="utf-8") as file:
        rows = {(row["row"], row["metric"]): row for row in csv.DictReader(file)}
    assert rows["catr", "gt_known_loc"]["ours"]
    assert rows["tscam", "gt_known_loc"]["ours"] == ""
    assert "not for method tscam" in rows["tscam", "gt_known_loc"]["note"]


def test_all_images_are_trained_on(run: Path) -> None:
    splits = json.loads((run / "manifest.json").read_text())["splits"]
    assert splits["fit"]["images"] == 32
    assert splits["held_out"]["images"] == 0


def test_the_run_is_evaluated_at_the_fixed_threshold(
    run: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, err = in_process(capsys, "evaluate", run, "--data", drawn)
    assert code == 0, said + err
    assert "threshold 0.2, evaluation.threshold of the configuration" in said, said + err


def test_the_run_is_reported(run: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = in_process(capsys, "report", run, "--data", drawn, "--out", tmp_path / "report.html")
    assert code == 0, err


def test_the_run_localizes(run: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (image, *_) = sorted((drawn / "val").rglob("*.jpg"))
    code, _, err = in_process(capsys, "localize", run, image, "--out", tmp_path / "boxes", "--format", "coco")
    assert code == 0, err


def test_the_run_cannot_be_calibrated(run: Path, drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = in_process(capsys, "calibrate", run, "--data", drawn)
    assert code == 2, err
    assert "held no image out" in err


@pytest.mark.parametrize("threshold", [0.2, None], ids=["fixed", "open"])
def test_training_names_no_calibration_that_cannot_be(
    threshold: float | None, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*tiny_settings(), "--set", "data.holdout=0"]
    settings += ["--set", f"evaluation.threshold={'null' if threshold is None else threshold}"]
    code, said, err = in_process(capsys, "train", drawn, "--out", tmp_path / "run", "--config", "small", *settings)
    assert code == 0, said + err
    assert "cdtr calibrate" not in said, said + err
    assert "cdtr evaluate" in said, said + err


def test_released_settings_of_another_method_are_refused_in_a_line(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(
        capsys, "train", drawn, "--out", tmp_path / "run", "--config", "cub-official", "--set", "method=tscam"
    )
    assert code == 2, err
    assert "fidelity: official is not for method tscam" in err
    assert not (tmp_path / "run").exists()
