"""Thresholds that drawn images choose, and scores with intervals over draws and images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cdtr.errors import DataError
from cdtr.evaluation import calibrate_predictions, calibrate_predictions_label_free, find_protocol
from cdtr.evaluation.few_boxes import SweptImages, score_draws, sweep_images, with_maps
from cdtr.evaluation.forward import ImagePrediction
from cdtr.evaluation.measure import score_map
from cdtr.metrics import MaxBoxAcc
from cdtr.records import Annotation, Sample

WSOL = find_protocol("wsol")
SIDE = 56  # of the images; maps have a quarter of it


def predictions(count: int = 12, seed: int = 0) -> tuple[list[ImagePrediction], dict[str, Annotation]]:
    """Images with a square each, and maps that light it with noise around it."""
    noise = np.random.default_rng(seed)
    found, boxes = [], {}
    for number in range(count):
        left, top = (4 * noise.integers(1, 7, 2)).tolist()
        values = noise.random((14, 14)) * 0.6
        values[top // 4 : top // 4 + 6, left // 4 : left // 4 + 6] += 0.3 + 0.5 * noise.random()
        sample = Sample(f"{number}.png", Path(f"{number}.png"), 0)
        boxes[sample.image_id] = Annotation(np.array([[left, top, left + 24, top + 24]], dtype=np.float64))
        found.append(ImagePrediction(sample, (SIDE, SIDE), 0, 0, 1.0, True, values, values))
    return found, boxes


def test_the_threshold_is_the_one_that_a_calibration_on_the_same_images_chooses() -> None:
    found, boxes = predictions()
    swept = sweep_images(found, lambda sample: boxes[sample.image_id], WSOL)
    rows = np.array([7, 2, 9, 0, 4])
    (expected,) = calibrate_predictions([found[row] for row in rows], lambda sample: boxes[sample.image_id], [WSOL])
    assert swept.take(rows).choose() == pytest.approx(expected.threshold)
    (free,) = calibrate_predictions_label_free([found[row] for row in rows], [WSOL])
    assert swept.take(rows).label_free() == pytest.approx(free.threshold, abs=0.005 + 1e-9)


def test_hits_and_the_best_rate_are_those_of_max_box_acc() -> None:
    found, boxes = predictions()
    swept = sweep_images(found, lambda sample: boxes[sample.image_id], WSOL)
    metric = MaxBoxAcc(swept.thresholds, (50,))
    for one in found:
        metric.update(score_map(one, WSOL), boxes[one.sample.image_id].boxes_xyxy * 224 / SIDE)
    assert swept.best_rate() == pytest.approx(metric.compute()["max_box_acc"])
    assert 100 * swept.hits(0.5).mean() == pytest.approx(metric.rates[0][50])
    low, high = swept.best_rate_interval() or (0, 0)
    assert low <= swept.best_rate() <= high + 1e-9


def test_images_without_a_box_are_left_out_and_one_has_to_have_some() -> None:
    found, boxes = predictions(4)
    swept = sweep_images(found, lambda sample: boxes[sample.image_id] if sample.image_id == "2.png" else None, WSOL)
    assert swept.image_ids == ("2.png",)
    with pytest.raises(DataError, match="no image has a box"):
        sweep_images(found, lambda _sample: None, WSOL)


def test_scores_are_means_over_draws_with_their_spread_and_gain() -> None:
    base = np.array([True, False, False, False])
    hits = np.array([[True, True, False, False], [True, True, True, False]])
    point = score_draws("calibrate", "random", 10, hits, base, list("abcd"))
    assert point.gt_known_loc == pytest.approx(62.5)
    assert point.spread == pytest.approx(np.std([50, 75], ddof=1))
    assert point.gain == pytest.approx(37.5)
    assert point.draws == 2
    tree = with_maps(point, [60.0, 80.0], [0.4, 0.6]).to_json()
    assert tree["max_box_acc"] == pytest.approx(70)
    assert tree["threshold"] == pytest.approx(0.5)
    assert isinstance(tree["interval"], list)


def test_intervals_are_paired_by_image_and_cover_the_draws() -> None:
    noise = np.random.default_rng(0)
    ids = [str(number) for number in range(400)]
    base = noise.random(400) < 0.5
    same = score_draws("calibrate", "random", 0, base[None], base, ids)
    assert same.spread is None
    assert same.gain_interval == (0.0, 0.0)
    assert same.interval[1] - same.interval[0] == pytest.approx(2 * 196 * np.sqrt(0.25 / 400), rel=0.15)
    alike = np.stack([base] * 4)
    apart = np.stack([base, base & (noise.random(400) < 0.5), base, base & (noise.random(400) < 0.5)])
    narrow, wide = (score_draws("refine", "random", 9, hits, base, ids).interval for hits in (alike, apart))
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])


def test_rows_keep_their_order() -> None:
    swept = SweptImages(("a", "b"), np.array([0.0, 0.5]), np.array([[0.6, 0.1], [0.2, 0.9]]), np.array([0.1, 0.4]))
    turned = swept.take(np.array([1, 0]))
    assert turned.image_ids == ("b", "a")
    assert turned.hits(0.45).tolist() == [True, False]
    assert turned.label_free() == 0.0
