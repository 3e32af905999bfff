import pytest

from cdtr.errors import DataError
from cdtr.metrics import ImageRow, LocAccuracy


def row(name, right, in_top5, iou_label, label=0):
    return ImageRow(name, label, label if right else label + 1, 0.9, in_top5, iou_label, iou_label)


ROWS = [
    row("a", True, True, 0.75),
    row("b", False, True, 0.5),
    row("c", True, True, 0.49, label=1),
    row("d", False, False, 0.96),
    row("e", True, True, None, label=1),
]


def collected(rows):
    accuracy = LocAccuracy()
    for one in rows:
        accuracy.update(one)
    return accuracy


def test_percentages_by_hand():
    metrics = collected(ROWS).compute()
    assert metrics["top1_cls"] == pytest.approx(60)
    assert metrics["top5_cls"] == pytest.approx(80)
    assert metrics["top1_loc"] == pytest.approx(25), "a; the unannotated image is not part of it"
    assert metrics["top5_loc"] == pytest.approx(50), "a and b, whose IoU is exactly 0.5"
    assert metrics["gt_known_loc"] == pytest.approx(75), "a, b and d, whatever was predicted"
    assert metrics["gt_known_loc_iou70"] == pytest.approx(50)
    assert metrics["mean_iou"] == pytest.approx(67.5)
    assert metrics["median_iou"] == pytest.approx(62.5)


def test_without_annotation_localization_is_unknown_not_zero():
    metrics = collected(ROWS[4:]).compute()
    assert metrics["top1_cls"] == 100
    assert metrics["gt_known_loc"] is None
    assert metrics["mean_iou"] is None


def test_an_image_counts_once_also_when_merged():
    first, second = collected(ROWS[:3]), collected(ROWS[2:])
    first.update(ROWS[0])
    assert first.count == 3
    first.merge(second)
    assert first.rows == tuple(ROWS)
    assert first.compute() == collected(ROWS).compute()


def test_per_class_splits_by_label():
    per_class = collected(ROWS).compute_per_class()
    assert list(per_class) == [0, 1]
    assert per_class[0]["gt_known_loc"] == 100
    assert per_class[1]["gt_known_loc"] == 0
    assert per_class[1]["top1_cls"] == 100


def test_no_image_is_an_error():
    with pytest.raises(DataError, match="no image"):
        LocAccuracy().compute()
