import pytest

from cdtr.localization.boxes import iou_half_open
from cdtr.metrics import ImageRow
from cdtr.metrics.loc_errors import EXAMPLES, classify_error, summarise_errors

ONE, TWO = [[0, 0, 100, 100]], [[0, 0, 100, 100], [120, 0, 220, 100]]


@pytest.mark.parametrize(
    ("box", "gt_boxes", "class_right", "expected"),
    [
        ([0, 0, 100, 90], ONE, True, "correct"),
        ([0, 0, 100, 90], ONE, False, "cls"),
        ([10, 10, 40, 40], ONE, True, "part"),
        ([60, 60, 110, 110], ONE, True, "part"),
        ([0, 0, 200, 200], ONE, True, "more"),
        ([0, 0, 220, 100], [TWO[0], TWO[1], [0, 300, 9, 309]], True, "m_ins"),
        ([60, 60, 160, 160], ONE, True, "other"),
        ([200, 200, 300, 300], ONE, True, "other"),
        ([0, 0, 0, 0], ONE, True, "other"),
        ([0, 0, 50, 50], [], True, "other"),
        ([0, 0, 160, 220], TWO, True, "m_ins"),
        ([0, 0, 140, 220], TWO, True, "more"),
    ],
    ids=[
        "right", "wrong-class", "part", "half-out-is-a-part", "background", "covers-two", "beside", "far", "empty",
        "no-box", "40%-of-the-second", "20%-of-the-second",
    ],
)  # fmt: skip
def test_kinds_by_hand(box, gt_boxes, class_right, expected):
    best = float(iou_half_open([box], gt_boxes).max()) if len(gt_boxes) else 0.0
    assert classify_error(box, gt_boxes, best, class_right, inclusive=False) == expected


def test_summary_counts_and_names_the_same_images_in_any_order():
    rows = [ImageRow(f"{n}", 0, 0, 1.0, True, 0.1, 0.1, "part" if n < 30 else "correct") for n in range(40)]
    rows.append(ImageRow("unannotated", 0, 0, 1.0, True))
    found = summarise_errors(rows)
    assert found["part"]["count"] == 30
    assert found["part"]["percent"] == 75
    assert found["other"]["count"] == 0
    assert len(found["part"]["examples"]) == EXAMPLES
    assert summarise_errors(rows[::-1]) == found
    assert summarise_errors(rows[-1:]) == {}
