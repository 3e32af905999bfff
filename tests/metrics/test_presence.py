"""Metrics of whether images have an object, against slow counts and scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from cdtr.evaluation.intervals import IntervalTally
from cdtr.metrics import ImageRow, Presence, presence_metrics
from cdtr.metrics.presence import weighted_auroc


def rows_of(*presences: Presence | None) -> list[ImageRow]:
    return [ImageRow(f"{n}", 0, 0, 0.9, True, presence=one) for n, one in enumerate(presences)]


def values(rows: list[ImageRow]) -> dict[str, float | None]:
    return {metric.key: metric.compute(rows) for metric in presence_metrics()}


def test_auroc_with_ties_and_weights_equals_scikit_learns() -> None:
    random = np.random.default_rng(0)
    scores = random.integers(0, 12, 60) / 12
    positive = random.random(60) < 0.4
    weights = random.poisson(1, (5, 60)).astype(float)
    found = weighted_auroc(scores, positive, weights)
    expected = [roc_auc_score(positive, scores, sample_weight=one) for one in weights]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_auroc_is_unknown_with_one_kind_alone() -> None:
    assert np.isnan(weighted_auroc(np.array([0.1, 0.2]), np.array([True, True]), np.ones((1, 2)))).all()
    assert np.isnan(weighted_auroc(np.zeros(0), np.zeros(0, dtype=bool), np.ones((2, 0)))).all()


def test_boxes_that_are_false_or_missing() -> None:
    rows = rows_of(
        Presence(0.9, True, True), Presence(0.4, False, True), Presence(0.8, True, True), Presence(0.7, True, True),
        Presence(0.5, True, False), Presence(0.1, False, False),
    )  # fmt: skip
    # Pairs in order: 0.9, 0.8 and 0.7 are above both, 0.4 above one: 7 of 8.
    assert values(rows) == {"object_auroc": 87.5, "false_boxes": 50.0, "missing_boxes": 25.0}


def test_nothing_is_measured_where_every_class_has_an_object() -> None:
    assert values(rows_of(None, None)) == dict.fromkeys(("object_auroc", "false_boxes", "missing_boxes"))
    objects = rows_of(Presence(0.9, True, True))
    assert values(objects) == {"object_auroc": None, "false_boxes": None, "missing_boxes": 0.0}


def test_intervals_hold_the_value_and_are_empty_without_such_classes() -> None:
    random = np.random.default_rng(1)
    true = np.arange(200) % 2 == 0
    probs = np.clip(random.normal(np.where(true, 0.6, 0.4), 0.2), 0, 1)
    rows = rows_of(*(Presence(float(p), bool(p > 0.5), bool(t)) for p, t in zip(probs, true, strict=True)))
    found = IntervalTally((50,), 3, 4).compute(rows)
    for key, value in values(rows).items():
        interval = found[key]
        assert interval is not None
        assert value is not None
        assert interval[0] < value < interval[1]
        assert 5 < interval[1] - interval[0] < 25
    assert IntervalTally((50,), 3, 4).compute(rows_of(None))["object_auroc"] is None


def test_titles_and_order() -> None:
    assert [metric.title for metric in presence_metrics()] == ["object AUROC", "false boxes", "missing boxes"]
    assert all(metric.optional and metric.needs_class for metric in presence_metrics())
