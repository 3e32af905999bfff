import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from cdtr.errors import DataError
from cdtr.localization.boxes import (
    BoxRule,
    component_boxes,
    component_masks,
    iou_half_open,
    iou_inclusive,
    largest_box,
    scored_components,
    threshold_mask,
)
from cdtr.localization.maps import normalise_maps
from cdtr.localization.sweep import best_ious, contour_boxes, largest_boxes
from oracles import box_oracles as oracle

THRESHOLDS = np.arange(0, 1, 0.02)


def reference_boxes(score_map, threshold, multi=False):
    return threshold_sweep(score_map, [threshold], multi)[0]


def threshold_sweep(score_map, thresholds, multi=False):
    return contour_boxes(score_map, thresholds) if multi else largest_boxes(score_map, thresholds)[:, None]


def filled(*boxes_xyxy, size=(16, 16), value=1.0):
    score_map = np.zeros(size)
    for x0, y0, x1, y1 in boxes_xyxy:
        score_map[y0:y1, x0:x1] = value
    return score_map


def ring():
    score_map = filled((2, 2, 9, 9))
    score_map[4:7, 4:7] = 0
    return score_map


def test_one_pixel_and_ring_of_the_specification():
    assert reference_boxes(filled((10, 10, 11, 11)), 0.5).tolist() == [[10, 10, 11, 11]]
    assert reference_boxes(ring(), 0.5).tolist() == [[2, 2, 9, 9]]
    assert sorted(reference_boxes(ring(), 0.5, multi=True).tolist()) == [[2, 2, 9, 9], [3, 3, 8, 8]]


def test_reference_box_stays_on_the_last_pixel():
    assert reference_boxes(filled((12, 3, 16, 16)), 0.5).tolist() == [[12, 3, 15, 15]]


@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
def test_nothing_found_is_the_zero_box(multi):
    assert reference_boxes(np.zeros((8, 8)), 0.0, multi).tolist() == [[0, 0, 0, 0]]


def test_foreground_is_strictly_above_a_truncated_level():
    score_map = np.array([[0.0, 100 / 255 + 1e-6, 101 / 255 + 1e-6, 200 / 255 + 1e-6]])
    # int(0.504 * 200) = 100: the pixel of value 100 is background.
    assert threshold_mask(score_map, 0.504).tolist() == [[0, 0, 255, 255]]
    assert threshold_mask(score_map, 0.499).tolist() == [[0, 255, 255, 255]]


def test_polygon_area_decides_not_the_number_of_pixels():
    score_map = np.zeros((20, 20))
    score_map[2, 1:19] = 1  # 18 pixels on a line: polygon area 0
    score_map[10:13, 10:13] = 1  # 9 pixels: polygon area 4
    assert largest_box(score_map, 0.5).tolist() == [[10, 10, 13, 13]]


@pytest.mark.parametrize(
    ("score_map", "expected"),
    [
        (np.zeros((9, 9)), []),
        (filled((3, 4, 4, 5)), [[3, 4, 4, 5]]),
        (filled((0, 0, 16, 16), value=0.5), [[0, 0, 16, 16]]),
        (filled((0, 0, 4, 4), (6, 6, 16, 12)), [[6, 6, 16, 12]]),
    ],
    ids=["empty", "one-pixel", "everything", "larger-of-two"],
)
def test_largest_box_is_half_open(score_map, expected):
    boxes = largest_box(score_map, 0.2)
    assert boxes.shape == (len(expected), 4)
    assert boxes.tolist() == expected


def test_components_have_the_mean_of_the_map_in_their_pixels_alone():
    score_map = filled((0, 0, 2, 2), (4, 4, 12, 12)) * 0.6
    score_map[4:8, 4:12] = 1.0
    corner = np.array([[5, 13], [6, 13]])  # below the threshold, though in no component
    score_map[tuple(corner.T)] = 0.2
    boxes, means = scored_components(score_map, 0.5)
    assert boxes.tolist() == [[4, 4, 12, 12], [0, 0, 2, 2]]
    np.testing.assert_allclose(means, [0.8, 0.6])
    boxes, means = scored_components(np.zeros((4, 4)), 0.5)
    assert boxes.shape == (0, 4)
    assert means.shape == (0,)


def test_component_boxes_are_sorted_and_limited_by_area():
    score_map = filled((0, 0, 2, 2), (4, 4, 12, 12), (13, 0, 16, 4))
    everything = [[4, 4, 12, 12], [13, 0, 16, 4], [0, 0, 2, 2]]
    assert component_boxes(score_map, 0.5).tolist() == everything
    assert component_boxes(score_map, 0.5, 12 / 256).tolist() == everything[:2]
    corner = np.zeros((16, 16))
    corner[2, 2:14] = corner[2:14, 2] = 1  # 23 pixels in a box of 144
    assert component_boxes(corner, 0.5, 23 / 256).tolist() == [[2, 2, 14, 14]]
    assert component_boxes(corner, 0.5, 24 / 256).shape == (0, 4), "pixels count, not the box around them"
    assert component_boxes(score_map, 0.5, 0.9).shape == (0, 4)
    assert component_boxes(np.zeros((4, 4)), 0.5).shape == (0, 4)
    assert component_boxes(ring(), 0.5).tolist() == [[2, 2, 9, 9]], "a hole is no component"


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([0, 0.3, 1])),
    st.sampled_from([0, 0.3, 0.5]),
)
def test_masks_are_the_regions_that_the_boxes_are_drawn_around(score_map, threshold):
    foreground = threshold_mask(score_map, threshold) > 0
    boxes = component_boxes(score_map, threshold)
    masks = component_masks(score_map, threshold, boxes)
    np.testing.assert_array_equal(masks.sum(axis=0), foreground)  # each region once, whatever boxes they share
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        rows, columns = np.nonzero(mask)
        assert columns.min() == x0
        assert rows.min() == y0
        assert columns.max() + 1 == x1
        assert rows.max() + 1 == y1
        assert ndimage.label(mask, structure=np.ones((3, 3)))[1] == 1
    largest = largest_box(score_map, threshold)
    assert component_masks(score_map, threshold, largest).shape == (len(largest), *score_map.shape)


def test_a_mask_of_a_box_of_another_map_is_refused():
    with pytest.raises(DataError, match="around no region"):
        component_masks(filled((2, 2, 5, 5)), 0.5, np.array([[2, 2, 6, 5]]))


def smooth_map(seed, size=(60, 48)):
    rng = np.random.default_rng(seed)
    coarse = rng.random((int(rng.integers(2, 9)), int(rng.integers(2, 9)))) ** 2
    return normalise_maps(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("multi", [False, True], ids=["single", "multi"])
def test_sweep_equals_the_oracle_on_smooth_maps(multi):
    for seed in range(25):
        score_map = smooth_map(seed)
        for threshold, boxes in zip(THRESHOLDS, threshold_sweep(score_map, THRESHOLDS, multi), strict=True):
            assert sorted(boxes.tolist()) == sorted(oracle.boxes_at(score_map, threshold, multi)), (
                f"seed {seed}, threshold {threshold}"
            )


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([0, 0.3, 1])),
    st.booleans(),
)
def test_sweep_equals_the_oracle_on_plateaus_and_ties(score_map, multi):
    thresholds = [0, 0.2, 0.3, 0.5, 0.99]
    for threshold, boxes in zip(thresholds, threshold_sweep(score_map, thresholds, multi), strict=True):
        assert sorted(boxes.tolist()) == sorted(oracle.boxes_at(score_map, threshold, multi))


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 0.5, 1])
    ),
    st.booleans(),
)
def test_best_ious_equal_the_oracle(score_map, multi):
    thresholds = [0, 0.1, 0.5, 0.9]
    gt_boxes = [[0, 0, 2, 3], [1, 1, 1, 1]]
    expected = [
        max(oracle.iou_inclusive(a, b) for a in oracle.boxes_at(score_map, t, multi) for b in gt_boxes)
        for t in thresholds
    ]
    np.testing.assert_allclose(best_ious(score_map, gt_boxes, thresholds, multi), expected, rtol=1e-12)


def absolute_largest_box(score_map, threshold):
    """SAT's box by its definition: absolute threshold, largest component by pixels, whole frame when empty."""
    mask = (score_map > threshold).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if len(stats) == 1:
        return [0, 0, score_map.shape[1], score_map.shape[0]]
    x, y, width, height, _ = stats[1 + int(stats[1:, 4].argmax())]
    return [x, y, x + width, y + height]


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([0, 0.25, 0.5, 0.9])
    )
)
def test_rule_of_absolute_thresholds_equals_its_definition(score_map):
    rule = BoxRule(threshold_of="absolute", largest_by="pixels", empty="frame", clip_corner=False)
    thresholds = [0.5, 0, 0.25, 0.95]
    found = largest_boxes(score_map, thresholds, rule)
    expected = [absolute_largest_box(score_map, t) for t in thresholds]
    # Components of as many pixels each: OpenCV labels them block by block, the tree in raster order.
    sizes = [
        cv2.connectedComponentsWithStats((score_map > t).astype(np.uint8), connectivity=8)[2][1:, 4] for t in thresholds
    ]
    for box, other, pixels in zip(found.tolist(), expected, sizes, strict=True):
        if (pixels == pixels.max(initial=0)).sum() < 2:
            assert box == other


def test_thresholds_may_come_in_any_order():
    score_map = smooth_map(5)
    shuffled = np.random.default_rng(0).permutation(THRESHOLDS)
    by_threshold = dict(zip(THRESHOLDS, threshold_sweep(score_map, THRESHOLDS), strict=True))
    for threshold, boxes in zip(shuffled, threshold_sweep(score_map, shuffled), strict=True):
        np.testing.assert_array_equal(boxes, by_threshold[threshold])


@pytest.mark.parametrize("thresholds", [[-0.1], [1.1], [np.nan], [[0.5]]], ids=["negative", "above", "nan", "2-d"])
def test_bad_thresholds_are_refused(thresholds):
    with pytest.raises(DataError, match="threshold"):
        threshold_sweep(np.zeros((4, 4)), thresholds)


def test_box_moves_with_the_map():
    blob = smooth_map(7, (20, 24))
    canvas = np.zeros((64, 64))
    canvas[10:30, 12:36] = blob
    moved = np.zeros((64, 64))
    moved[10 + 9 : 30 + 9, 12 + 21 : 36 + 21] = blob
    (box,), (moved_box,) = largest_box(canvas, 0.4), largest_box(moved, 0.4)
    assert moved_box.tolist() == np.add(box, [21, 9, 21, 9]).tolist()


def test_box_flips_with_the_map():
    score_map = smooth_map(11)
    height, width = score_map.shape
    (x0, y0, x1, y1) = largest_box(score_map, 0.4)[0]
    assert largest_box(score_map[:, ::-1], 0.4).tolist() == [[width - x1, y0, width - x0, y1]]
    assert largest_box(score_map[::-1], 0.4).tolist() == [[x0, height - y1, x1, height - y0]]


def test_inclusive_iou_of_the_specification():
    assert iou_inclusive([[1, 2, 5, 6]], [[3, 1, 4, 5]]).item() == pytest.approx(8 / 27)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 4, 4], [0, 0, 4, 4], 1),
        ([0, 0, 4, 4], [4, 0, 8, 4], 5 / 45),
        ([0, 0, 4, 4], [6, 6, 8, 8], 0),
        ([0, 0, 4, 4], [1, 1, 3, 3], 9 / 25),
        ([3, 3, 3, 3], [3, 3, 3, 3], 1),
    ],
    ids=["same", "touching", "apart", "inside", "one-pixel"],
)
def test_inclusive_iou_of_known_boxes(a, b, expected):
    assert iou_inclusive([a], [b]).item() == pytest.approx(expected)


corner = st.integers(0, 30)
box = st.tuples(corner, corner, corner, corner).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)
box_lists = st.lists(box, min_size=1, max_size=4)


@given(box_lists, box_lists)
def test_iou_is_symmetric_bounded_and_right(a, b):
    values = iou_inclusive(a, b)
    assert values.shape == (len(a), len(b))
    assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_array_equal(values, iou_inclusive(b, a).T)
    np.testing.assert_allclose(values, [[oracle.iou_inclusive(p, q) for q in b] for p in a])


def test_no_boxes_is_a_shape():
    assert iou_inclusive(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)


@pytest.mark.parametrize(
    "bad",
    [[[5, 0, 4, 3]], [[0, 5, 3, 4]], [[-1, 0, 3, 3]], [[0, 0, np.nan, 1]], [0, 0, 1, 1]],
    ids=["inverted-x", "inverted-y", "negative", "nan", "1-d"],
)
def test_inclusive_iou_refuses_broken_boxes(bad):
    with pytest.raises(DataError):
        iou_inclusive(bad, [[0, 0, 1, 1]])
    with pytest.raises(DataError):
        iou_inclusive([[0, 0, 1, 1]], bad)


def test_iou_of_half_open_boxes():
    assert iou_half_open([[1, 2, 5, 6]], [[3, 1, 4, 5]]).item() == 3 / (16 + 4 - 3)
    assert iou_half_open([[0, 0, 0, 0]], [[0, 0, 0, 0]]).item() == 0, "two empty boxes"
    assert iou_half_open([[0, 0, 2, 2]], [[2, 0, 4, 2]]).item() == 0, "boxes that touch share nothing"
