import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cdtr.localization.component_tree import component_tree, fill_holes, hole_boxes

small_maps = hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4))


def contours_at(levels, k):
    mask = (levels > k).astype(np.uint8)
    return cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)


def half_open(contour):
    x, y, width, height = cv2.boundingRect(contour)
    return [x, y, x + width, y + height]


@settings(max_examples=200, deadline=None)
@given(small_maps)
def test_components_are_those_of_each_level(levels):
    tree = component_tree(levels)
    for k in range(int(levels.max())):
        alive = (tree.births <= k) & (k < tree.ends)
        _, _, stats, _ = cv2.connectedComponentsWithStats((levels > k).astype(np.uint8), connectivity=8)
        expected = sorted([x, y, x + w, y + h, n] for x, y, w, h, n in stats[1:].tolist())
        assert sorted(np.column_stack([tree.boxes, tree.pixels])[alive].tolist()) == expected


@settings(max_examples=200, deadline=None)
@given(small_maps)
def test_holes_and_contour_areas_are_opencv_s(levels):
    births, ends, boxes = hole_boxes(levels)
    tree = component_tree(fill_holes(levels))
    for k in range(int(levels.max())):
        contours, hierarchy = contours_at(levels, k)
        holes = [half_open(c) for c, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True) if parent >= 0]
        assert sorted(boxes[(births <= k) & (k < ends)].tolist()) == sorted(holes)
        filled = (fill_holes(levels) > k).astype(np.uint8)
        outer = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        areas = sorted(cv2.contourArea(c) for c in outer)
        alive = (tree.births <= k) & (k < tree.ends)
        np.testing.assert_allclose(sorted(tree.contour_areas[alive]), areas)


def test_filling_keeps_what_water_from_outside_reaches():
    levels = np.array([[3, 3, 3, 0], [3, 1, 3, 0], [3, 2, 3, 0]], dtype=np.int32)
    assert fill_holes(levels).tolist() == [[3, 3, 3, 0], [3, 2, 3, 0], [3, 2, 3, 0]]


def test_empty_map_has_no_component():
    assert len(component_tree(np.zeros((4, 5), np.int32)).births) == 0
    assert len(hole_boxes(np.zeros((4, 5), np.int32))[0]) == 0
