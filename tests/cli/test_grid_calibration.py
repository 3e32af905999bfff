"""On which images a grid of trainings chooses its thresholds, known before the first of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cdtr.cli._grid import calibrate_options, choose_calibration
from cdtr.config import Config
from cdtr.errors import DataError
from cdtr.records import Annotation, DataSource, Sample


def _source(boxed: str, *splits: str, count: int = 3) -> DataSource:
    """A data set with boxes for the images of the splits that ``boxed`` names."""

    def annotate(sample: Sample) -> Annotation | None:
        split, _, number = sample.image_id.partition("/")
        if number == "0":
            raise DataError("one damaged file says nothing about the others")
        return Annotation(np.array([[0.0, 0, 4, 4]])) if split in boxed.split() else None

    samples = {
        split: tuple(Sample(f"{split}/{number}", Path("x.png"), number % 2) for number in range(count))
        for split in splits
    }
    return DataSource("made", Path("made"), ("a", "b"), samples, True, annotate)


@pytest.mark.parametrize(
    ("source", "chosen"),
    [
        pytest.param(_source("train test", "train", "test"), "held-out", id="training-boxes"),
        pytest.param(_source("train", "train", "val", count=2500), "held-out", id="large"),
        pytest.param(_source("train train-fullsup", "train", "train-fullsup", "test"), "train-fullsup", id="both"),
        pytest.param(_source("train-fullsup test", "train", "train-fullsup", "test"), "train-fullsup", id="openimages"),
    ],
)
def test_the_benchmarks_split_comes_first(source: DataSource, chosen: str) -> None:
    assert choose_calibration(source, [Config()]) == chosen
    assert calibrate_options(chosen) == (() if chosen == "held-out" else ("--split", chosen))


@pytest.mark.parametrize(
    ("source", "config", "scored", "message"),
    [
        pytest.param(_source("test", "train", "test"), {}, None, "no box of a training image", id="no-boxes"),
        pytest.param(_source("test", "train", "train-fullsup", "test"), {}, None, "no box", id="fullsup-without"),
        pytest.param(_source("train", "train"), {}, None, "no other is left to score", id="no-test-split"),
        pytest.param(_source("train", "train", "val"), {}, "held-out", "no other is left to score", id="held-out"),
        pytest.param(_source("train", "train", "val"), {"holdout": 0}, None, "above 0", id="none-held-out"),
    ],
)
def test_what_could_not_be_calibrated_or_scored_is_refused(
    source: DataSource, config: dict[str, object], scored: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        choose_calibration(source, [Config(), Config().updated(data=config)], scored)
