"""Calibrations on drawn images, and review lists that begin with the doubtful boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cdtr.config import DataConfig
from cdtr.data.pixels import View
from cdtr.evaluation import find_protocol
from cdtr.evaluation.forward import ImagePrediction
from cdtr.records import Annotation, DataSource, Sample
from cdtr.workflows.budget_curves import Drawn, Look, calibration_points, review_helps
from cdtr.workflows.reporting import SILENT

SIDE = 56  # of the images; maps have a quarter of it


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """120 images; in every third the map lights another place than the true box, and is faint."""
    noise = np.random.default_rng(0)
    boxes: dict[str, Annotation] = {}
    found = []
    for number in range(120):
        left, top = (4 * noise.integers(1, 7, 2)).tolist()
        values = noise.random((14, 14)) * 0.2
        row, column = (0, 0) if number % 3 == 0 else (top // 4, left // 4)
        values[row : row + 6, column : column + 6] += 0.3 if number % 3 == 0 else 0.8
        sample = Sample(f"{number}.png", Path(f"{number}.png"), 0)
        true = [left, top, left + 24, top + 24] if number % 3 else [30, 30, 54, 54]
        boxes[sample.image_id] = Annotation(np.array([true], dtype=np.float64))
        prob = 0.6 if number % 3 == 0 else 0.95
        found.append(ImagePrediction(sample, (SIDE, SIDE), 0, 0, prob, True, values, values))
    source = DataSource("drawn", Path(), ("one",), {}, True, lambda sample: boxes[sample.image_id])
    look = Look(source, find_protocol("wsol"), View.of("whole", DataConfig()), torch.device("cpu"), None, SILENT)
    return Drawn(look, found[:80], look.sweep(found[:80]), found[80:], look.sweep(found[80:]))


def test_points_are_those_of_random_draws_and_of_the_review_list(drawn: Drawn) -> None:
    points = calibration_points(drawn, (10, 40, 60), 2, SILENT)
    assert [(one.order, one.images) for one in points] == [
        ("random", 0),
        ("random", 10),
        ("random", 40),
        ("random", 60),
        ("review", 60),
    ]
    assert points[0].gain == 0
    assert all(one.max_box_acc == pytest.approx(drawn.measured.best_rate()) for one in points)
    assert points[1].score_auroc is None, "too few to fit scores on"
    assert (points[2].score_auroc or 0) > 90, "faint maps tell the misses"


def test_a_review_list_puts_misses_first_behind_what_was_reviewed(drawn: Drawn) -> None:
    order = drawn.review_rows(0, 40)
    assert sorted(order.tolist()) == list(range(80))
    assert order[:40].tolist() == drawn.rows(0, 40).tolist()
    is_miss = np.array([row % 3 == 0 for row in order[40:]])
    assert is_miss[: is_miss.sum()].mean() > 0.8


def test_help_is_the_probability_of_a_miss_and_1_without_a_box(drawn: Drawn) -> None:
    threshold, quality = drawn.calibrate(drawn.rows(0, 80))
    boxes = drawn.look.describe(drawn.predictions, threshold)
    helps = review_helps([*boxes, None], quality)
    assert helps[-1] == 1
    missed = np.array([box is not None and not box.hit for box in boxes])
    assert helps[:-1].mean() == pytest.approx(missed.mean(), abs=0.05), "the scores are calibrated on these boxes"
    assert helps[:-1][missed].mean() > helps[:-1][~missed].mean()


def test_without_hits_or_misses_there_is_no_review_list(drawn: Drawn) -> None:
    hits = [one for number, one in enumerate(drawn.predictions) if number % 3]
    alike = Drawn(drawn.look, hits, drawn.look.sweep(hits), drawn.measured_predictions, drawn.measured)
    points = calibration_points(alike, (40, 50), 2, SILENT)
    assert [one.order for one in points] == ["random"] * 3
    assert all(one.score_auroc is None for one in points)
