"""The targets of a box regressor: the box of a map, the largest true box, or nothing."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from cdtr.records import Annotation
from cdtr.workflows.box_targets import box_target, filled

SIZE_HW = (112, 224)


def rectangle(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    expected = np.zeros((56, 56))
    expected[top:bottom, left:right] = 1
    return expected


def test_the_target_of_a_map_is_the_box_around_what_exceeds_the_threshold() -> None:
    values = np.zeros((28, 28))
    values[4:24, 8:12] = 0.4
    values[8:16, 4:20] = 1
    for threshold, expected in [(0.2, rectangle(8, 48, 8, 40)), (0.7, rectangle(16, 32, 8, 40))]:
        found = box_target(values, threshold, None, SIZE_HW, is_empty=False)
        assert np.abs(found - expected).sum() < 56, "less than a row of cells"


def test_a_map_of_one_value_and_an_empty_image_have_no_box() -> None:
    assert not box_target(np.ones((28, 28)), 0.5, None, SIZE_HW, is_empty=False).any()
    assert not box_target(np.eye(28), 0.5, None, SIZE_HW, is_empty=True).any()


def test_the_largest_true_box_counts_also_of_an_empty_image() -> None:
    true = Annotation(np.array([[0.0, 0, 20, 20], [56, 28, 168, 84]]))
    for is_empty in (False, True):
        found = box_target(np.eye(28), 0.5, true, SIZE_HW, is_empty)
        assert_allclose(found, rectangle(14, 42, 14, 42))


def test_boxes_fill_their_share_of_each_cell_and_leave_a_corner_of_a_full_image() -> None:
    found = filled(np.array([[0.0, 0, 3, 4]]), (4, 4), (2, 2))
    assert_allclose(found, [[0, 0.5], [1, 0.5]])
    assert_allclose(filled(np.array([[0.0, 0, 2, 4]]), (4, 4), (2, 2)), [[1, 0], [1, 0]])
