"""Scores of boxes, thresholds without boxes, and boxes from elsewhere, through the command line."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import NEU_CLASSES, copy_neu, draw_neu, in_fixture, in_process, run_cdtr

from cdtr.data.datasets import load_source


@pytest.fixture(scope="module")
def scored(tiny_run: Path, real_neu: Path | None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A run calibrated with images enough to score boxes, the data, and what `cdtr calibrate` printed."""
    data = tmp_path_factory.mktemp("more") / "NEU-DET"
    data = draw_neu(data, n_val=10) if real_neu is None else copy_neu(real_neu, data, n_val=10)
    run = tmp_path_factory.mktemp("runs") / "scored"
    shutil.copytree(tiny_run, run)
    # The view under which this run of one epoch hits and misses often enough for scores.
    view = "crop" if real_neu is None else "whole"
    done = run_cdtr("calibrate", run, "--data", data, "--split", "val", "--mirror", "--view", view)
    assert done.returncode == 0, done.stderr
    return run, data, done.stdout


def test_scores_of_boxes_go_to_the_boxes_and_to_the_review(scored: tuple[Path, Path, str], tmp_path: Path) -> None:
    run, data, printed = scored
    assert "scores of boxes: fitted on 60 boxes" in printed
    assert "mirror" in json.loads((run / "calibration.json").read_text())["box_scores"]["features"]
    done = run_cdtr("localize", run, data / "IMAGES", "--out", tmp_path / "all")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "all" / "review.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    help_wanted = [float(row["help"]) for row in rows]
    assert help_wanted == sorted(help_wanted, reverse=True)
    assert len(set(help_wanted)) > 20
    boxes = json.loads((tmp_path / "all" / "coco.json").read_text())["annotations"]
    scores = sorted(box["score"] for box in boxes)
    np.testing.assert_allclose(scores, sorted(1 - one for one in help_wanted), atol=1e-4)
    middle = (scores[len(scores) // 2] + scores[len(scores) // 2 - 1]) / 2
    done = run_cdtr("localize", run, data / "IMAGES", "--out", tmp_path / "best", "--min-score", middle)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "best" / "coco.json").read_text())["annotations"]
    assert 0 < len(kept) < len(boxes)
    assert min(box["score"] for box in kept) >= middle


def test_evaluate_says_how_good_the_scores_of_boxes_are(
    scored: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data, _ = scored
    asked = ("evaluate", run, "--data", data, "--split", "train", "--json", tmp_path / "n.json")
    code, out, err = in_process(capsys, *asked, "--figures", tmp_path / "figures")
    assert code == 0, err
    assert "of the best-scored 20%" in out
    found = json.loads((tmp_path / "n.json").read_text())["box_scores"]
    assert found["n_images"] == 48
    assert sum(part["images"] for part in found["reliability"]) == 48
    assert (tmp_path / "figures" / "wsol-box-scores.png").stat().st_size > 5000


def test_scores_of_boxes_are_measured_only_at_their_threshold_and_on_other_images(
    scored: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data, _ = scored
    fitted_at = json.loads((run / "calibration.json").read_text())["threshold"]
    other = 0.9 if fitted_at < 0.8 else 0.5

    def evaluate(split: str, *more: object) -> tuple[bool, str]:
        asked = ("evaluate", run, "--data", data, "--split", split, "--json", tmp_path / "n.json")
        code, _, err = in_process(capsys, *asked, *more)
        assert code == 0, err
        numbers = json.loads((tmp_path / "n.json").read_text())
        return numbers["box_scores"] is not None, " ".join(numbers["notes"])

    assert evaluate("train") == (True, "")
    assert evaluate("train", "--threshold", fitted_at) == (True, "")
    measured, notes = evaluate("train", "--threshold", other)
    assert measured is False
    assert f"fitted at the calibrated threshold {fitted_at:.3g}" in notes
    measured, notes = evaluate("val", "--threshold", fitted_at)
    assert measured is False
    assert "fitted on 60 of these images, `allow_leak=True`" in notes
    for more in ([], ["--threshold", fitted_at]):
        measured, notes = evaluate("val", "--allow-leak", *more)
        assert measured is True
        assert "fitted on 60 of these images, which flatters" in notes
    assert evaluate("val", "--allow-leak", "--threshold", other)[0] is False


def test_localize_warns_of_scores_fitted_at_another_threshold(
    scored: tuple[Path, Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data, _ = scored
    fitted_at = json.loads((run / "calibration.json").read_text())["threshold"]
    picture = next((data / "IMAGES").iterdir())
    warned = {}
    for given in ([], ["--threshold", fitted_at], ["--threshold", 0.93]):
        code, _, err = in_process(capsys, "localize", run, picture, "--out", tmp_path / "o", "--overwrite", *given)
        assert code == 0, err
        warned[str(given)] = [line for line in err.splitlines() if line.startswith("warning: the scores of boxes")]
    *none, one = warned.values()
    assert none == [[], []]
    assert len(one) == 1
    assert f"fitted at the calibrated threshold {fitted_at:.3g}, and the one in use is 0.93" in one[0]


@pytest.fixture(scope="module")
def label_free(tiny_run: Path, neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run calibrated without a box, and what `cdtr calibrate` printed."""
    run = Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "label-free"))
    return run, in_fixture("calibrate", run, "--data", neu, "--label-free")[0]


def test_calibrate_on_data_without_boxes_advises_label_free(
    tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = tmp_path / "folders"
    for sample in load_source(neu).splits["train"]:
        target = folders / "train" / NEU_CLASSES[sample.label] / sample.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(sample.path.read_bytes())
    code, _, err = in_process(capsys, "calibrate", tiny_run, "--data", folders, "--split", "val")
    assert code == 2, err
    assert "take --label-free" in err


def test_calibrate_label_free_looks_at_no_box(label_free: tuple[Path, str]) -> None:
    run, out = label_free
    assert "label-free: halfway from the maps' mean to their brightest fifth, no box was looked at" in out
    stored = json.loads((run / "calibration.json").read_text())
    assert stored["gt_known_loc"] is None
    assert stored["curve"] is None
    assert stored["box_scores"] is None
    assert 0 < stored["threshold"] < 1


def test_evaluate_takes_the_label_free_threshold(
    label_free: tuple[Path, str], neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = label_free
    stored = json.loads((run / "calibration.json").read_text())
    code, out, err = in_process(capsys, "evaluate", run, "--data", neu)
    assert code == 0, err
    assert f"threshold {stored['threshold']:.3g}" in out, err


def test_a_label_free_run_has_no_scores_of_boxes(
    label_free: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = label_free
    code, _, err = in_process(capsys, "localize", run, neu / "IMAGES", "--out", tmp_path / "out", "--min-score", "0.5")
    assert code == 2, err
    assert "has no scores of boxes" in err
    assert not (tmp_path / "out").exists()


def test_label_free_and_mirror_exclude_each_other(
    label_free: tuple[Path, str], neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(capsys, "calibrate", label_free[0], "--data", neu, "--label-free", "--mirror")
    assert code == 2, err
    assert "give one of them" in err


def test_score_reads_the_boxes_that_localize_writes(
    calibrated: tuple[Path, str],
    neu: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _ = calibrated
    code, _, err = in_process(capsys, "localize", run, neu / "IMAGES", "--out", tmp_path / "boxes")
    assert code == 0, err
    given = ("score", tmp_path / "boxes" / "coco.json", "--data", neu, "--json", tmp_path / "given.json")
    code, out, err = in_process(capsys, *given)
    assert code == 0, err
    assert "MaxBoxAcc and PxAP need maps" in out
    code, _, err = in_process(capsys, "evaluate", run, "--data", neu, "--json", tmp_path / "own.json")
    assert code == 0, err
    ours, theirs = (json.loads((tmp_path / name).read_text()) for name in ("own.json", "given.json"))
    assert theirs["metrics"]["top1_cls"] == ours["metrics"]["top1_cls"]
    assert theirs["metrics"]["top1_loc"] == pytest.approx(ours["metrics"]["top1_loc"], abs=6), "one image of 18"
    assert theirs["metrics"]["max_box_acc"] is None
    assert theirs["average_precision"]["n_found"] == 18
    assert theirs["average_precision"]["n_true"] >= 18
    assert 0 <= theirs["average_precision"]["ap"] <= theirs["average_precision"]["ap50"] <= 100
    assert "average precision over all boxes, in percent: " in out
    assert "average_precision" not in ours
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    code, out, err = in_process(capsys, *given)
    assert code == 0, err
    assert "average precision over all boxes needs pycocotools" in err
    assert "average precision" not in out
    code, _, err = in_process(capsys, *given, "--threshold", "0.2")
    assert code == 2, err
    assert "are for maps" in err
