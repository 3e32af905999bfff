import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdtr.errors import DataError
from cdtr.metrics import PxAP
from oracles import box_oracles as oracle

THRESHOLDS = np.arange(0, 1, 0.01)


def pxap_of(*cases):
    metric = PxAP(THRESHOLDS)
    for score_map, mask in cases:
        metric.update(np.asarray(score_map, dtype=float), np.asarray(mask, dtype=np.uint8))
    return metric.compute()


@pytest.mark.parametrize("ignored", [0.0, 0.5, 1.0])
def test_perfect_map_scores_100_whatever_the_ignored_pixels_hold(ignored):
    assert pxap_of(([[1, 1, 0, ignored]], [[1, 1, 0, 255]])) == 100


@pytest.mark.parametrize("level", [0.0, 0.37, 1.0])
def test_constant_map_scores_the_share_of_object_pixels(level):
    assert pxap_of((np.full((4, 5), level), [[1, 0, 0, 0, 255]] * 4)) == pytest.approx(25)


def test_small_case_by_hand():
    # From the top: object at recall 1/2 precision 1, background, object at recall 1 precision 2/3.
    assert pxap_of(([[0.9, 0.6, 0.3]], [[1, 0, 1]])) == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_equals_the_oracle(seed, on_edges):
    rng = np.random.default_rng(seed)
    score_maps = rng.random((3, 7, 6))
    if on_edges:  # scores that lie on the histogram's edges
        score_maps = rng.choice([*THRESHOLDS, 1.0], (3, 7, 6))
    masks = rng.choice([0, 1, 255], (3, 7, 6)).astype(np.uint8)
    masks[0, 0, 0] = 1
    expected = oracle.pxap(score_maps, masks, THRESHOLDS)
    assert pxap_of(*zip(score_maps, masks, strict=True)) == pytest.approx(expected, abs=1e-9)


def test_merged_halves_equal_the_whole():
    rng = np.random.default_rng(0)
    cases = [(rng.random((5, 5)), rng.integers(0, 2, (5, 5)).astype(np.uint8)) for _ in range(4)]
    whole, first, second = (PxAP(THRESHOLDS) for _ in range(3))
    for number, case in enumerate(cases):
        whole.update(*case)
        (first if number < 1 else second).update(*case)
    first.merge(second)
    assert first.compute() == whole.compute()
    assert first.count == 4
    with pytest.raises(DataError, match="cannot merge"):
        first.merge(PxAP([0, 0.5]))


@pytest.mark.parametrize(
    ("score_map", "mask"),
    [
        (np.eye(3), np.eye(4)),
        (np.eye(3), np.eye(3) * 2),
        (np.eye(3) * 2, np.eye(3)),
        (np.eye(3) * np.nan, np.eye(3)),
        (np.zeros((2, 3, 3)), np.zeros((2, 3, 3))),
    ],
    ids=["sizes", "values", "range", "nan", "3-d"],
)
def test_bad_input_is_an_error(score_map, mask):
    with pytest.raises(DataError):
        pxap_of((score_map, mask))


def test_no_object_pixel_is_an_error():
    with pytest.raises(DataError, match="no object pixel"):
        pxap_of((np.eye(3), np.zeros((3, 3))))


@pytest.mark.parametrize("thresholds", [[], [0.1, 0.2], [0, 0], [0, 1]], ids=["empty", "no-zero", "flat", "one"])
def test_bad_thresholds_are_errors(thresholds):
    with pytest.raises(DataError, match="thresholds"):
        PxAP(thresholds)


def test_area_under_precision_and_recall_is_pxap():
    from cdtr.metrics.pxap import average_precision, precision_recall

    histograms = np.random.default_rng(2).integers(0, 9, (2, 12))
    precision, recall = precision_recall(histograms)
    assert 100 * (precision[1:] * np.diff(recall)).sum() == pytest.approx(average_precision(histograms))
    assert recall[-1] == 1
