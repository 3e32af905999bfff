"""Mean recall, its interval, and when a classifier knows no more than the largest class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cdtr.evaluation.intervals import IntervalTally
from cdtr.metrics import ImageRow
from cdtr.metrics.baselines import largest_class
from cdtr.metrics.bootstrap import image_weights
from cdtr.metrics.loc_accuracy import summarise
from cdtr.metrics.outcomes import mean_over_classes
from cdtr.metrics.recall import ClassCounts


def rows_of(*classes: tuple[int, int]) -> list[ImageRow]:
    """For each class its number of images, and how many of them are predicted right."""
    return [
        ImageRow(f"{label}-{i}", label, label if i < right else len(classes), 0.9, i < right)
        for label, (images, right) in enumerate(classes)
        for i in range(images)
    ]


def counts_of(confusion: list[list[int]]) -> ClassCounts:
    """From the images of each class (rows) by predicted class (columns)."""
    table = np.array(confusion)
    return ClassCounts(table.sum(axis=1), table.sum(axis=0), np.diag(table))


def test_mean_recall_weighs_classes_equally() -> None:
    found = summarise(rows_of((71, 71), (20, 5), (9, 0)))
    assert found["top1_cls"] == pytest.approx(76)
    assert found["mean_recall"] == pytest.approx(100 * (1 + 0.25 + 0) / 3)


def test_of_even_classes_it_is_top1_cls() -> None:
    found = summarise(rows_of((8, 8), (8, 2), (8, 5)))
    assert found["mean_recall"] == pytest.approx(found["top1_cls"])


def test_mean_over_classes_leaves_out_what_has_no_image() -> None:
    assert mean_over_classes([[4, 0, 1], [0, 0, 0]], [[4, 0, 2], [0, 0, 0]]) == pytest.approx(
        [0.75, np.nan], nan_ok=True
    )


def test_its_interval_is_that_of_the_weighted_images() -> None:
    rows = rows_of((40, 30), (9, 3), (4, 1))
    low, high = IntervalTally((50,), 1, 1).compute(rows)["mean_recall"] or (0, 0)
    weights = image_weights([row.image_id for row in rows]).astype(float)
    recalls = []
    for replicate in weights.T:
        of_class = []
        for label in range(3):
            own = [(w, row.predicted == label) for w, row in zip(replicate, rows, strict=True) if row.label == label]
            if total := sum(w for w, _ in own):
                of_class.append(sum(w for w, hit in own if hit) / total)
        recalls.append(100 * sum(of_class) / len(of_class))
    assert (low, high) == pytest.approx(tuple(np.quantile(recalls, [0.025, 0.975])), abs=1e-3)
    assert low < summarise(rows)["mean_recall"] < high


def test_the_largest_class_alone_scores_its_share() -> None:
    found = largest_class(rows_of((20, 0), (71, 3), (3, 3), (2, 2), (2, 0), (1, 1), (1, 0)))
    assert found["label"] == 1
    assert found["top1_cls"] == pytest.approx(71)
    assert found["mean_recall"] == pytest.approx(100 / 7)
    assert found["top5_cls"] == pytest.approx(98), "the five largest classes"


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        pytest.param([[71, 0, 0], [20, 0, 0], [9, 0, 0]], True, id="the largest class always"),
        pytest.param([[69, 1, 1], [19, 1, 0], [9, 0, 0]], True, id="nearly always"),
        pytest.param([[71, 0, 0], [10, 10, 0], [4, 0, 5]], False, id="knows the classes"),
        pytest.param([[51, 10, 10], [6, 14, 0], [3, 0, 6]], False, id="balanced: loses Top-1 Cls and gains recall"),
        pytest.param([[50, 14, 7], [14, 4, 2], [6, 2, 1]], True, id="classes as often as they are, at random"),
        pytest.param([[10, 10], [10, 10]], True, id="even, a coin"),
        pytest.param([[18, 2], [3, 17]], False, id="even, known"),
        pytest.param([[30]], False, id="one class"),
    ],
)
def test_when_no_more_than_the_largest_class_is_known(confusion: list[list[int]], expected: bool) -> None:
    assert counts_of(confusion).knows_no_more_than_largest is expected


def test_the_interval_of_the_share_is_wilsons() -> None:
    found = counts_of([[71, 0], [29, 0]]).largest_share_interval
    expected = stats.binomtest(71, 100).proportion_ci(method="wilson")
    assert found == pytest.approx((100 * expected.low, 100 * expected.high))


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[90, 0, 0], [6, 0, 0], [1, 0, 3]], [1]),
        ([[90, 0, 0], [3, 0, 0], [1, 0, 3]], []),
        ([[90, 0, 0], [6, 0, 0], [9, 0, 0]], [1, 2]),
        ([[90, 1, 0], [6, 0, 0], [1, 0, 8]], []),
        ([[90, 0], [0, 0]], []),
    ],
    ids=["one", "too few images to tell", "two", "predicted, though wrongly", "no image"],
)
def test_classes_that_are_never_predicted(confusion: list[list[int]], expected: list[int]) -> None:
    assert counts_of(confusion).never_predicted == expected
