"""On which images a grid of trainings chooses its thresholds, known before the first of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cdtr.config import Config
from cdtr.errors import DataError
from cdtr.records import Annotation, DataSource, Sample
from cdtr.workflows.grid import calibrate_options, calibration_note, choose_calibration, training_cell
from cdtr.workflows.opening import FULLSUP


def _source(boxed: str, *splits: str, count: int = 3, first: int = 1, damaged: bool = True) -> DataSource:
    """A data set with boxes in the splits that ``boxed`` names, from image ``first`` on; image 0 may be damaged."""

    def annotate(sample: Sample) -> Annotation | None:
        split, _, number = sample.image_id.partition("/")
        if damaged and number == "0":
            raise DataError("the file of image 0 is damaged")
        return Annotation(np.array([[0.0, 0, 4, 4]])) if split in boxed.split() and int(number) >= first else None

    samples = {
        split: tuple(Sample(f"{split}/{number}", Path("x.png"), number % 2) for number in range(count))
        for split in splits
    }
    return DataSource("made", Path("made"), ("a", "b"), samples, True, annotate)


UNBOXED = _source("test", "train", "test", damaged=False)
UNBOXED_FULLSUP = _source("train", "train", FULLSUP, "test", damaged=False)


@pytest.mark.parametrize(
    ("source", "scored", "chosen"),
    [
        pytest.param(_source("train test", "train", "test"), None, "held-out", id="training-boxes"),
        pytest.param(_source("train", "train", "val", count=2500, first=2499), None, "held-out", id="a-single-box"),
        pytest.param(
            _source("train train-fullsup", "train", "train-fullsup", "test"), None, "train-fullsup", id="both"
        ),
        pytest.param(
            _source("train-fullsup", "train", "train-fullsup", "test"), None, "train-fullsup", id="openimages"
        ),
        pytest.param(UNBOXED_FULLSUP, None, "held-out", id="fullsup-without-boxes"),
        pytest.param(
            _source("train train-fullsup", "train", "train-fullsup"), "train-fullsup", "held-out", id="scored"
        ),
        pytest.param(_source("train-fullsup", "train", "train-fullsup"), "held-out", "train-fullsup", id="held-out"),
    ],
)
def test_the_benchmarks_split_comes_first(source: DataSource, scored: str | None, chosen: str) -> None:
    assert choose_calibration(source, [Config()], scored) == chosen
    assert calibrate_options(chosen) == (() if chosen == "held-out" else ("--split", chosen))


@pytest.mark.parametrize(
    ("source", "config", "scored", "message"),
    [
        pytest.param(
            _source("test", "train", "test", damaged=False), {}, None, "has no box of a training image", id="no-boxes"
        ),
        pytest.param(_source("train", "train"), {}, None, "has no split val or test to score", id="no-test-split"),
        pytest.param(_source("train", "train", "val"), {}, "held-out", "score another split", id="held-out"),
        pytest.param(_source("train", "train", "val"), {"holdout": 0}, None, "above 0", id="none-held-out"),
        pytest.param(_source("train", "train", "val"), {"holdout": 0}, "held-out", "no held-out", id="no-images"),
        pytest.param(_source("", "train", "val"), {}, None, "image 0 is damaged", id="why-there-is-none"),
    ],
)
def test_what_could_not_be_calibrated_or_scored_is_refused(
    source: DataSource, config: dict[str, object], scored: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        choose_calibration(source, [Config(), Config().updated(data=config)], scored)


FIXED = Config().updated(data={"holdout": 0}, evaluation={"threshold": 0.2})


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(_source("test", "train", "test", damaged=False), id="no-training-boxes"),
        pytest.param(_source("train-fullsup test", "train", "train-fullsup", "test"), id="fullsup"),
    ],
)
def test_fixed_thresholds_without_held_out_images_are_not_calibrated(source: DataSource, tmp_path: Path) -> None:
    others = FIXED.updated(evaluation={"threshold": 0.35})
    assert choose_calibration(source, [FIXED, others]) is None
    assert calibrate_options(None) is None
    assert calibration_note(None, [FIXED, others]).endswith("evaluation.threshold = 0.2, 0.35 is taken")
    cell = training_cell("a", tmp_path, tmp_path / "c.yaml", 0, tmp_path / "run", tmp_path / "log", calibrate=None)
    assert [command[0] for command in cell.commands] == ["train", "evaluate"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"data": {"holdout": 0.1}}, id="one-holds-out"),
        pytest.param({"evaluation": {"threshold": None}}, id="one-without-threshold"),
    ],
)
def test_runs_of_one_table_are_all_calibrated_or_none(other: dict[str, dict[str, object]]) -> None:
    with pytest.raises(DataError, match=r"set data\.holdout above 0, or data\.holdout=0 and evaluation\.threshold"):
        choose_calibration(_source("train", "train", "val"), [FIXED, FIXED.updated(**other)])


def test_a_threshold_of_its_own_does_not_stop_a_run_with_held_out_images_from_being_calibrated() -> None:
    config = Config().updated(evaluation={"threshold": 0.2})
    assert choose_calibration(_source("train", "train", "val"), [config]) == "held-out"
