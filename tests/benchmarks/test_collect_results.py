"""Lines of results/*.csv from run folders that are written here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import collect_results
from cdtr.errors import DataError
from collect_results import at_threshold, collect, lines_of_run
from results_csv import COLUMNS, merged, read_lines, write_lines

GIVEN = {"table": "made", "command": "cdtr ablate GRID --out OUT", "data": ""}


def evaluation(gt_known: float = 50.0, threshold: float | None = 0.3) -> dict[str, Any]:
    return {
        "split": "val",
        "protocol": "wsol",
        "n_images": 10,
        "n_annotated": 9,
        "threshold": threshold,
        "threshold_source": "calibrated on 4 held-out training images",
        "metrics": {"gt_known_loc": gt_known, "top1_loc": None, "max_box_acc_v2": 41.23456},
        "baselines": {"full_image": {"gt_known_loc": 20.0, "top1_loc": 10.0}, "centre_box": None},
        "oracle": {"gt_known_loc": 60.0},
        "curves": {
            "thresholds": [0.2, 0.3, 0.4],
            "largest_contour": {"30": [90.0, 80.0, 70.0], "50": [40.0, 50.0, 60.0]},
        },
    }


def write_run(folder: Path, config: str = "method: catr\nseed: 3\n", **files: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    manifest = {"git_revision": "0123456789abcdef", "versions": {"torch": "9.9"}, "data": {"format": "neu_det"}}
    for name, content in {"manifest": manifest, "evaluation": evaluation(), **files}.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def write_grid(out: Path, *names: str, **files: Any) -> Path:
    out.mkdir()
    (out / "grid.json").write_text("{}")
    (out / "configs").mkdir()
    for name in names:
        row, _, seed = name.rpartition("-")
        (out / "configs" / f"{row}.yaml").write_text("method: catr\n")
        write_run(out / "runs" / name, f"method: catr\nseed: {seed}\n", **files)
    return out


def test_a_line_holds_what_the_run_says_and_nothing_else(tmp_path: Path) -> None:
    (line,) = lines_of_run("catr", write_run(tmp_path / "run"), GIVEN, "four cores")
    assert set(line) == set(COLUMNS)
    assert {key: value for key, value in line.items() if value} == {
        "table": "made",
        "row": "catr",
        "seed": "3",
        "command": "cdtr ablate GRID --out OUT",
        "data": "neu_det",
        "split": "val",
        "revision": "0123456",
        "machine": "four cores, torch 9.9",
        "recipe": "paper",
        "method": "catr",
        "protocol": "wsol",
        "threshold": "0.3",
        "threshold_source": "calibrated on 4 held-out training images",
        "n_images": "10",
        "n_annotated": "9",
        "gt_known_loc": "50.000",
        "max_box_acc_v2": "41.235",
        "gt_known_loc_iou30": "80.000",
        "oracle_gt_known_loc": "60.000",
        "full_image_gt_known_loc": "20.000",
        "full_image_top1_loc": "10.000",
    }


@pytest.mark.parametrize(
    ("config", "said", "recipe"),
    [
        ("guide: {enabled: true}", None, "small"),
        ("guide: {enabled: false}", None, "paper"),
        ("fidelity: official", None, "official"),
        ("{recipe: official, guide: {enabled: true}}", None, "official"),
        ("recipe: paper", "small", "small"),
    ],
    ids=["guide", "no guide", "official bundle", "configured", "evaluated"],
)
def test_recipe(config: str, said: str | None, recipe: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", config, evaluation={**evaluation(), "recipe": said})
    assert next(iter(lines_of_run("row", run, GIVEN)))["recipe"] == recipe


@pytest.mark.parametrize("threshold", [None, 0.305, 0.9], ids=["none", "between", "outside"])
def test_hits_at_a_threshold_that_was_not_swept_are_not_guessed(threshold: float | None) -> None:
    assert at_threshold(evaluation(threshold=threshold), 30) is None
    assert at_threshold(evaluation(), 70) is None


def test_a_grid_gives_its_own_rows_and_the_prior(tmp_path: Path) -> None:
    out = write_grid(tmp_path / "out", "cdtr-start-0", "cdtr-start-1", "catr-0")
    write_run(out / "runs" / "stranger-0")
    (out / "runs/catr-0/prior.json").write_text(json.dumps(evaluation(11.0)))
    found = {(line["row"], line["seed"]): line["gt_known_loc"] for line in collect([out], GIVEN)}
    assert found == {
        ("cdtr-start", "0"): "50.000",
        ("cdtr-start", "1"): "50.000",
        ("catr", "0"): "50.000",
        ("prior", "0"): "11.000",
    }
    assert {line["row"] for line in collect([out], GIVEN, rows=["cdtr-start"])} == {"cdtr-start"}


def test_what_cannot_be_a_line_is_refused(tmp_path: Path) -> None:
    out = write_grid(tmp_path / "out", "cdtr-0", "catr-0", prior=evaluation())
    with pytest.raises(DataError, match="both give row prior, seed 0"):
        collect([out], GIVEN)
    with pytest.raises(DataError, match="no row 'ctdr'"):
        collect([out], GIVEN, rows=["ctdr"])
    with pytest.raises(DataError, match="name the row"):
        collect([write_run(tmp_path / "run")], GIVEN)
    several = write_run(tmp_path / "several", evaluation={"protocols": {}})
    with pytest.raises(DataError, match="several protocols"):
        collect([several], GIVEN, row="cdtr")
    unmeasured = write_run(tmp_path / "unmeasured", evaluation=None)
    with pytest.raises(DataError, match=r"no evaluation\.json"):
        collect([unmeasured], GIVEN, row="cdtr")


def test_new_lines_replace_those_of_their_key_and_the_file_stays_sorted(tmp_path: Path) -> None:
    file = tmp_path / "made.csv"
    seeds = {seed: write_run(tmp_path / str(seed), f"seed: {seed}\n") for seed in (10, 2)}
    write_lines(file, merged([], collect([seeds[10], seeds[2]], GIVEN, row="tscam")))
    first = file.read_text(encoding="utf-8").splitlines()
    again = write_run(tmp_path / "again", "seed: 10\n", evaluation=evaluation(51.0))
    write_lines(file, merged(read_lines(file), collect([again], GIVEN, row="tscam")))
    second = file.read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[2] for line in second] == ["seed", "2", "10"]
    assert first[:2] == second[:2]
    assert "51.000" in second[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("pxap", "px_ap"), "other columns"),
        (lambda text: text + text.splitlines()[1] + "\n", "is there already"),
        (lambda text: text + "short,line\n", r"expected [0-9]+ values"),
    ],
    ids=["columns", "twice", "short"],
)
def test_a_file_that_was_spoilt_by_hand_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "made.csv"
    write_lines(file, collect([write_run(tmp_path / "run")], GIVEN, row="tscam"))
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_lines(file)


@pytest.mark.parametrize("command", ["cdtr train /data/neu", "cdtr ablate g.yaml --out=/scratch/o", "cdtr train ~/neu"])
def test_paths_of_a_machine_do_not_get_into_a_file(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = write_run(tmp_path / "run"), tmp_path / "made.csv"
    arguments = ["collect_results.py", run, "--row", "tscam", "--csv", file, "--command"]
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), command])
    assert collect_results.main() == 2
    assert "path of this machine" in capsys.readouterr().err
    assert not file.exists()
    monkeypatch.setattr(sys, "argv", [*map(str, arguments), "cdtr train NEU-DET --out runs/neu"])
    assert collect_results.main() == 0
    assert file.is_file()
