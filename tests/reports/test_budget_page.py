"""What the table, the CSV file, the page and the advice say about a few boxes."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from cdtr.evaluation.few_boxes import BudgetPoint
from cdtr.reports.budget_page import advice, budget_csv, budget_rows, enough_boxes, write_budget_page


def point(way: str, images: int, score: float, gain: float, order: str = "random", spread: float = 1.0) -> BudgetPoint:
    interval = (gain - 2, gain + 2)
    return BudgetPoint(way, order, images, 5, score, spread, (score - 4, score + 4), gain, interval, 60.0, 0.5)


RUN = [point("calibrate", 0, 40, 0, spread=0.0), point("calibrate", 10, 37, -3), point("calibrate", 50, 45.5, 5.5)]
MORE = point("calibrate", 200, 46, 6)


def test_more_boxes_than_the_spread_pays_are_not_advised() -> None:
    assert advice([*RUN, MORE]) == [
        "threshold: 50 boxed images give +5.5 (45.5%), more bring nothing beyond the spread of the draws"
    ]
    best = replace(MORE, gt_known_loc=52.0, gain=12.0, gain_interval=(9.0, 15.0))
    assert advice([*RUN, best]) == ["threshold: 200 boxed images give +12.0 (52.0%)"]


def test_no_gain_and_a_gain_that_chance_explains_are_told_apart() -> None:
    keep = "keep the label-free one (no threshold finds more than 60.0%)"
    assert advice(RUN[:2]) == [f"threshold: up to 10 boxed images bring nothing, {keep}"]
    unsure = replace(RUN[2], gain_interval=(-0.5, 11.0))
    (line,) = advice([*RUN[:2], unsure])
    assert line.startswith("threshold: 50 boxed images give +5.5 (45.5%), which chance could explain")
    worse = [replace(one, way="refine", gain=-1.0, gain_interval=(-3.0, 1.0)) for one in RUN[1:]]
    assert advice(worse) == ["second stage: up to 50 boxed images bring nothing"]
    assert enough_boxes(RUN[:2]) is None


def test_a_small_gain_in_doubt_does_not_hide_a_larger_number_without() -> None:
    unsure = replace(RUN[1], gt_known_loc=45.4, gain=5.4, gain_interval=(-1.0, 9.0))
    assert enough_boxes([unsure, RUN[2], MORE]) is RUN[2]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((30.0, 41.0), "200 boxed images find less (41.0%) than the run with its best threshold (45.5%)"),
        ((30.0, 60.0), "200 boxed images find more (60.0%) than the run with its best threshold (45.5%)"),
        ((50.0, 60.0), "20 boxed images find more (50.0%) than the run with its best threshold (45.5%)"),
    ],
)
def test_a_detector_is_compared_with_the_run(scores: tuple[float, float], expected: str) -> None:
    detectors = [point("detector", size, score, score - 40) for size, score in zip((20, 200), scores, strict=True)]
    assert advice([*RUN, *detectors])[-1] == f"detector alone: {expected}"


@pytest.mark.parametrize(("review", "expected"), [(45.0, "-0.5, within the spread"), (41.0, "-4.5, beyond the spread")])
def test_orders_are_compared_at_the_smallest_number_of_both(review: float, expected: str) -> None:
    points = [*RUN, MORE, point("calibrate", 50, review, 1, "review"), point("calibrate", 200, 46, 1, "review")]
    said = f"threshold: 50 images in review order instead of random ones give {expected}"
    assert advice(points)[-1] == said


def test_scores_of_boxes_are_named_from_where_they_are_fitted() -> None:
    points = [*RUN[:2], replace(RUN[2], score_auroc=71.4), replace(MORE, score_auroc=78.0)]
    assert "scores of boxes: AUROC 71 from 50 boxed images, 78 from 200 boxed images" in advice(points)
    assert advice(points[:3])[-1] == "scores of boxes: AUROC 71 from 50 boxed images"
    assert not [line for line in advice(points[:2]) if line.startswith("scores")]


def test_every_point_is_in_the_table_and_the_csv() -> None:
    points = [*RUN, replace(point("prior", 20, 30, 1), chosen={"shared": 4, "border": 1}), point("detector", 20, 9, 1)]
    points[-1] = replace(points[-1], max_box_acc=None, threshold=None, spread=None)
    header, rows = budget_rows(points)
    assert all(len(row) == len(header) for row in rows)
    assert rows[-1] == ["detector alone", "random", "20", "9.0", "+1.0", "-1.0 to +3.0", "-", "-"]
    assert rows[1][3] == "37.0 ± 1.0"
    lines = list(csv.DictReader(io.StringIO(budget_csv(points))))
    assert lines[3]["chosen"] == "shared 4; border 1"
    assert lines[1]["gain"] == "-3.00"
    assert lines[-1]["threshold"] == ""
    assert [line["images"] for line in lines] == ["0", "10", "50", "20", "20"]


def test_the_page_holds_the_chart_the_advice_and_escaped_names(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    write_budget_page(page, [*RUN, MORE, point("calibrate", 200, 44, 2, "review")], "runs/<one>", 252, 251)
    text = page.read_text()
    assert "runs/&lt;one&gt;" in text
    assert "more bring nothing beyond the spread" in text
    assert "threshold, review order: 44.0 at 200" in text, "the chart in words"
    assert text.count("<tr>") == 6
    assert "http" not in text.replace("http-equiv", ""), "it needs no other file"
