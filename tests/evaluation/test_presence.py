"""The probability of an object that calibration chooses, and what an evaluation makes of empty classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from cdtr.errors import DataError
from cdtr.evaluation import ObjectScores, find_protocol, fit_box_scores
from cdtr.evaluation.forward import ImagePrediction, predict
from cdtr.evaluation.presence import with_objects
from cdtr.localization.presence import EmptyClasses
from cdtr.metrics import Presence
from cdtr.records import Sample
from oracles.toy_methods import ImageIsMap, annotate_from, batch_of, evaluated

WSOL = find_protocol("wsol")
BOX = (60, 60, 160, 160)


def prediction(name: str, prob: float, true: bool) -> ImagePrediction:
    nothing = np.zeros((2, 2))
    presence = Presence(prob, False, true)
    return ImagePrediction(Sample(name, Path(name), 0), (2, 2), 0, 0, 1.0, True, nothing, nothing, presence=presence)


def scores_of(objects: Sequence[float], empty: Sequence[float]) -> ObjectScores:
    scores = ObjectScores()
    found = [prediction(f"o{n}", prob, True) for n, prob in enumerate(objects)]
    found += [prediction(f"e{n}", prob, False) for n, prob in enumerate(empty)]
    assert len(list(scores.watch([*found, found[0]]))) == len(found) + 1
    return scores


def test_where_the_kinds_are_told_apart_no_box_is_lost() -> None:
    found = scores_of(np.linspace(0.7, 1, 40).tolist(), [0.1, 0.3]).choose()
    assert found is not None
    assert found.threshold == pytest.approx(0.5), "between the last of one kind and the first of the other"
    assert found.kept == 100
    assert found.false_boxes == 0
    assert found.n_objects == 40
    assert found.n_empty == 2


def test_where_they_overlap_95_percent_of_the_objects_keep_their_box() -> None:
    random = np.random.default_rng(0)
    objects, empty = random.beta(4, 2, 200), random.beta(2, 4, 300)
    found = scores_of(objects.tolist(), empty.tolist()).choose()
    assert found is not None
    assert 95 <= found.kept <= 96
    assert found.kept == pytest.approx(100 * (objects >= found.threshold).mean())
    assert found.false_boxes == pytest.approx(100 * (empty >= found.threshold).mean())
    # Nothing above it keeps as many, nothing below it has as few false boxes.
    sixth_of = np.sort(objects)[10]
    assert found.threshold <= sixth_of
    assert not ((empty >= found.threshold) & (empty < sixth_of)).any()


def test_few_images_never_lose_more_than_five_percent() -> None:
    for count in range(1, 45):
        found = scores_of(np.linspace(0.2, 0.9, count).tolist(), [0.95, 0.5]).choose()
        assert found is not None
        assert found.kept >= 95


def test_certain_images_get_a_threshold_below_one() -> None:
    found = scores_of([1.0, 1.0], [1.0]).choose()
    assert found is not None
    assert found.threshold < 1
    assert found.kept == 100


def test_one_kind_alone_gives_none() -> None:
    assert scores_of([0.5], []).choose() is None
    assert scores_of([], [0.5]).choose() is None


def test_images_without_an_object_are_skipped_and_counted() -> None:
    skipped: list[int] = []
    found = [prediction("a", 0.5, True), prediction("b", 0.5, False)]
    assert [one.sample.image_id for one in with_objects(found, skipped.append)] == ["a"]
    assert skipped == [1]


def maps(first: float, second: float) -> torch.Tensor:
    """Two classes whose maps have a square of these heights, which are the logits too."""
    found = torch.zeros(2, 224, 224)
    found[0, 60:160, 60:160] = first
    found[1, 60:160, 60:160] = second
    return found


# Label, logits of class 0 and of class 1, which is without an object.
IMAGES = [(0, 4.0, 1.0), (0, 4.0, 2.0), (0, 1.0, 4.0), (1, 1.0, 4.0), (1, 3.0, 2.0)]


def data() -> list[object]:
    return [batch_of([maps(a, b)], [label], [f"{n}"]) for n, (label, a, b) in enumerate(IMAGES)]


def test_evaluation_measures_empty_images_and_leaves_them_out_of_boxes() -> None:
    truth = annotate_from({f"{n}": [BOX] for n, (label, *_) in enumerate(IMAGES) if label == 0})
    plain = evaluated(ImageIsMap(), data(), truth, WSOL, 0.5)
    found = evaluated(ImageIsMap(), data(), truth, WSOL, 0.5, empty=EmptyClasses((1,)))
    assert found.metrics["false_boxes"] == 50
    assert found.metrics["missing_boxes"] == pytest.approx(100 / 3)
    assert found.n_annotated == 3
    for key in ("gt_known_loc", "top1_loc", "top1_cls", "mean_iou", "max_box_acc"):
        assert found.metrics[key] == plain.metrics[key]
    assert plain.metrics["object_auroc"] is None
    assert found.to_json()["metrics"]["false_boxes"] == 50


def test_the_auroc_orders_the_images_by_the_probability_of_an_object() -> None:
    found = evaluated(ImageIsMap(), data(), annotate_from({}), WSOL, 0.5, empty=EmptyClasses((1,)))
    # Differences of the logits: 3, 2, -3 with an object, -3 and 1 without: 4 pairs of 6 in order, one tie, one not.
    assert found.metrics["object_auroc"] == pytest.approx(100 * 4.5 / 6)


def test_a_box_has_a_score_only_where_it_is_given() -> None:
    empty = EmptyClasses((1,))
    gets = [one.gets_box for one in predict(ImageIsMap(), data(), "cpu", empty=empty)]
    assert gets == [True, True, False, False, True]
    strict = [one.gets_box for one in predict(ImageIsMap(), data(), "cpu", empty=EmptyClasses((1,), 0.9))]
    assert strict == [True, False, False, False, False]
    lenient = [one.gets_box for one in predict(ImageIsMap(), data(), "cpu", empty=EmptyClasses((1,), 0.01))]
    assert lenient == [True, True, False, False, True], "the scored box is that of the most probable class"
    assert all(one.gets_box and one.presence is None for one in predict(ImageIsMap(), data(), "cpu"))


def test_scores_of_boxes_are_fitted_without_images_that_get_none() -> None:
    images = [batch_of([maps(1.0, 4.0)], [0], [f"{n}"]) for n in range(50)]
    truth = annotate_from({f"{n}": [BOX] for n in range(50)})
    with pytest.raises(DataError, match="of 0 boxes hit"):
        fit_box_scores(ImageIsMap(), images, truth, WSOL, 0.5, 2, empty=EmptyClasses((1,)))
    with pytest.raises(DataError, match="50 of 50 boxes hit"):
        fit_box_scores(ImageIsMap(), images, truth, WSOL, 0.5, 2)
