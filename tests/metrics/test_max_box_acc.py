import cv2
import numpy as np
import pytest

from cdtr.errors import DataError
from cdtr.localization.maps import normalise_maps
from cdtr.metrics import MaxBoxAcc
from oracles import box_oracles as oracle

THRESHOLDS = np.arange(0, 1, 0.02)
IOU = (30, 50, 70)


def smooth_case(seed, size=(56, 56)):
    """A smooth map and one to three boxes; every fourth map has plateaus."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((int(rng.integers(2, 8)), int(rng.integers(2, 8)))).astype(np.float32) ** 2
    if seed % 4 == 0:
        coarse = np.round(coarse * 3) / 3
    score_map = normalise_maps(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))
    corners = np.sort(rng.integers(0, 56, (int(rng.integers(1, 4)), 2, 2)), axis=1)
    return score_map, corners.reshape(-1, 4)


def single_pixel():
    score_map = np.zeros((32, 32))
    score_map[10, 10] = 1
    return score_map


@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
def test_counts_equal_the_oracle_to_the_last(multi):
    metric = MaxBoxAcc(THRESHOLDS, IOU, multi)
    expected = np.zeros((3, len(THRESHOLDS)), dtype=int)
    for seed in range(50):
        score_map, gt_boxes = smooth_case(seed)
        metric.update(score_map, gt_boxes)
        expected += oracle.hits(score_map, gt_boxes.tolist(), THRESHOLDS, IOU, multi)
    assert metric.hits.dtype.kind == "i"
    np.testing.assert_array_equal(metric.hits, expected)
    assert metric.count == 50
    assert expected.any()
    assert (expected < 50).all()


@pytest.mark.parametrize(
    ("score_map", "gt_box", "hit"),
    [
        (np.zeros((32, 32)), [0, 0, 0, 0], True),
        (np.zeros((32, 32)), [0, 0, 9, 9], False),
        (np.full((32, 32), 0.7), [0, 0, 31, 31], True),
        (single_pixel(), [10, 10, 11, 11], True),
        (single_pixel(), [9, 9, 12, 12], False),
    ],
    ids=["zero-map-zero-box", "zero-map", "plateau", "one-pixel", "one-pixel-miss"],
)
def test_maps_that_are_edge_cases(score_map, gt_box, hit):
    metric = MaxBoxAcc([0, 0.5], (50,))
    metric.update(score_map, [gt_box])
    assert metric.hits.tolist() == [[int(hit)] * 2]


def test_iou_exactly_at_the_level_is_a_hit():
    score_map = np.zeros((32, 32))
    score_map[0:9, 0:9] = 1  # inclusive box [0, 0, 9, 9], 100 pixels
    metric = MaxBoxAcc([0.5], (30, 50, 70))
    metric.update(score_map, [[0, 0, 9, 4]])
    assert metric.hits.tolist() == [[1], [1], [0]]


def test_compute_takes_the_best_threshold_of_each_level():
    metric = MaxBoxAcc([0.1, 0.2, 0.3], IOU)
    metric.hits[:] = [[1, 4, 2], [3, 1, 3], [0, 1, 2]]
    metric.count = 4
    assert metric.compute() == {"max_box_acc": 75, "max_box_acc_v2": 75, "best_threshold": 0.1}
    metric = MaxBoxAcc([0.1], (30,))
    metric.hits[:], metric.count = [[1]], 2
    assert metric.compute() == {"max_box_acc": None, "max_box_acc_v2": 50, "best_threshold": None}


def test_merged_halves_equal_the_whole():
    whole, first, second = (MaxBoxAcc(THRESHOLDS) for _ in range(3))
    for seed in range(10):
        case = smooth_case(seed)
        whole.update(*case)
        (first if seed < 4 else second).update(*case)
    first.merge(second)
    np.testing.assert_array_equal(first.hits, whole.hits)
    assert first.count == whole.count
    assert first.compute() == whole.compute()


@pytest.mark.parametrize(
    "other",
    [MaxBoxAcc([0.1]), MaxBoxAcc([0.5], (50,)), MaxBoxAcc([0.5], multi_contour=True)],
    ids=["thresholds", "iou", "contours"],
)
def test_different_settings_do_not_merge(other):
    with pytest.raises(DataError, match="cannot merge"):
        MaxBoxAcc([0.5]).merge(other)


GOOD_MAP, GOOD_BOX = np.eye(8), [[1, 1, 4, 4]]


@pytest.mark.parametrize(
    ("score_map", "boxes"),
    [
        (GOOD_MAP[None], GOOD_BOX),
        (GOOD_MAP * 2, GOOD_BOX),
        (GOOD_MAP - 1, GOOD_BOX),
        (GOOD_MAP * np.nan, GOOD_BOX),
        (GOOD_MAP.astype(int), GOOD_BOX),
        (GOOD_MAP, np.zeros((0, 4))),
        (GOOD_MAP, [[4, 1, 1, 4]]),
        (GOOD_MAP, [[-1, 1, 4, 4]]),
        (GOOD_MAP, [1, 1, 4, 4]),
    ],
    ids=["3-d", "above", "below", "nan", "integers", "no-box", "inverted", "negative", "1-d-box"],
)
def test_bad_input_is_an_error_and_counts_nothing(score_map, boxes):
    metric = MaxBoxAcc([0.5])
    with pytest.raises(DataError):
        metric.update(score_map, boxes)
    assert metric.count == 0
    assert not metric.hits.any()


def test_nothing_seen_and_bad_settings_are_errors():
    with pytest.raises(DataError, match="no image"):
        MaxBoxAcc([0.5]).compute()
    with pytest.raises(DataError):
        MaxBoxAcc([])
    with pytest.raises(DataError, match="percentages"):
        MaxBoxAcc([0.5], (0,))
