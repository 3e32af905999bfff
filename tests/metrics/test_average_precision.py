import sys

import numpy as np
import pytest

from cdtr.errors import ConfigError, DataError
from cdtr.metrics.average_precision import ImageDetections, average_precision

A, B, FAR = (0, 0, 20, 20), (40, 40, 80, 80), (60, 0, 90, 20)


def image(label, true, found):
    boxes, labels, scores = zip(*found, strict=True) if found else ((), (), ())
    return ImageDetections(
        label,
        np.array(true, dtype=np.float64).reshape(-1, 4),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
        np.array(scores, dtype=np.float64),
    )


def at_recalls(*parts):
    """Percent over COCO's 101 recalls: (share of recalls up to this one, precision there)."""
    recalls = np.linspace(0, 1, 101)
    values = np.zeros(101)
    for up_to, precision in reversed(parts):
        values[recalls <= up_to + 1e-9] = precision
    return 100 * values.mean()


def test_all_boxes_found_is_everything():
    found = average_precision([image(0, [A, B], [(A, 0, 0.9), (B, 0, 0.8)]), image(1, [A], [(A, 1, 0.1)])])
    assert [found.ap50, found.ap, found.ap50_any_class, found.ap_any_class] == pytest.approx([100] * 4)
    assert found.n_true == 3
    assert found.n_found == 3


def test_one_box_of_two_a_false_one_and_a_miss():
    images = [image(0, [A, B], [(FAR, 0, 0.9), (A, 0, 0.8)]), image(1, [B], [])]
    found = average_precision(images)
    # Class 0: the false box comes first, so half of the boxes are found at precision 1 / 2; class 1: nothing.
    assert found.ap50 == pytest.approx(at_recalls((0.5, 0.5)) / 2)
    assert found.ap50_any_class == pytest.approx(at_recalls((1 / 3, 0.5)))


def test_a_wrong_class_counts_only_without_classes():
    found = average_precision([image(0, [A], [(A, 1, 0.9)])])
    assert found.ap50 == 0
    assert found.ap50_any_class == pytest.approx(100)


def test_the_same_object_twice_is_once_false():
    found = average_precision([image(0, [A, B], [(A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)])])
    assert found.ap50 == pytest.approx(at_recalls((0.5, 1), (1, 2 / 3)))


def test_a_loose_box_counts_at_low_overlap_alone():
    found = average_precision([image(0, [(0, 0, 100, 100)], [((0, 0, 100, 72), 0, 1.0)])])  # IoU 0.72
    assert found.ap50 == pytest.approx(100)
    assert found.ap == pytest.approx(50)  # 0.5, 0.55, 0.6, 0.65, 0.7 of ten


def test_without_true_boxes_or_pycocotools(monkeypatch):
    with pytest.raises(DataError, match="no image has a true box"):
        average_precision([image(0, [], [(A, 0, 1.0)])])
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(ConfigError, match=r"average precision over all boxes needs .*\[coco\]"):
        average_precision([image(0, [A], [])])
