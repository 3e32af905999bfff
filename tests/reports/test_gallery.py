"""Which images a page shows."""

from __future__ import annotations

from cdtr.metrics import ImageRow
from cdtr.reports.gallery import choose_failures, choose_random, choose_rows


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


def test_failures_of_each_kind_in_turn_the_worst_first() -> None:
    def row(name: str, error: str | None, iou: float | None, predicted: int = 0) -> ImageRow:
        return ImageRow(name, 0, predicted, 0.5, True, iou, iou, error)

    rows = [
        *(row("place-2", "other", 0.2), row("part-4", "part", 0.4), row("part-1", "part", 0.1)),
        *(row("several-3", "m_ins", 0.3), row("hit", "correct", 0.9), row("other class", "part", 0.0, predicted=1)),
        *(row("box right", "cls", 0.8, predicted=1), row("no box", None, None), row("part-4b", "part", 0.4)),
    ]
    names = [found.image_id for found in choose_failures(rows, 9)]
    assert names == ["several-3", "part-1", "place-2", "part-4", "part-4b"]
    assert [found.image_id for found in choose_failures(rows, 2)] == names[:2]
    assert choose_failures(rows[4:5], 3) == []
