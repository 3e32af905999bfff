"""Which images a page shows."""

from __future__ import annotations

from cdtr.metrics.loc_accuracy import ImageRow
from cdtr.reports.gallery import choose_random, choose_rows


def _row(index: int, iou: float | None) -> ImageRow:
    return ImageRow(str(index), 0, 0, 0.5, True, iou, iou)


def test_random_rows_and_best_median_and_worst_in_order() -> None:
    rows = [_row(index, (index * 7 % 40) / 40) for index in range(40)]
    galleries = {title: found for title, _, found in choose_rows(rows, 4, seed=3)}
    assert list(galleries) == ["At random", "Best", "Median", "Worst"]
    ranked = sorted((row.iou_predicted or 0.0 for row in rows), reverse=True)
    shown = {title: [row.iou_predicted for row in found] for title, found in galleries.items()}
    assert shown["Best"] == ranked[:4]
    assert shown["Median"] == ranked[18:22]
    assert shown["Worst"] == ranked[::-1][:4]
    assert len({row.image_id for row in galleries["At random"]}) == 4
    assert choose_rows(rows, 4, seed=3) == choose_rows(rows, 4, seed=3)
    assert choose_rows(rows, 4, seed=3)[0][2] != choose_rows(rows, 4, seed=4)[0][2]


def test_images_without_boxes_are_drawn_at_random_alone() -> None:
    rows = [_row(0, None), _row(1, 0.4), _row(2, None)]
    assert [len(found) for _, _, found in choose_rows(rows, 4, seed=0)] == [3, 1, 1, 1]
    assert [len(found) for _, _, found in choose_rows([_row(0, None), _row(1, None)], 4, seed=0)] == [2]


def test_fewer_items_than_asked_for_are_all_taken() -> None:
    assert sorted(choose_random([1, 2, 3], 9, seed=0)) == [1, 2, 3]
