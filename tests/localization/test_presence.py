"""Classes without an object: the rule by which an image gets no box, and what localizing makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from cdtr.localization.options import LocalizeOptions
from cdtr.localization.postprocess import MapPostProcessor
from cdtr.localization.prediction import localize_batch
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.torch_model import TorchModel
from cdtr.records import Localization
from oracles.toy_methods import ImageIsMap

CLASSES = ("red", "green", "blue")
BOX = (24, 20, 72, 60)


def image(*brightness: int) -> Image.Image:
    """A square in each channel, whose brightness is the score of the channel's class."""
    pixels = np.zeros((80, 120, 3), dtype=np.uint8)
    pixels[20:60, 24:72] = brightness
    return Image.fromarray(pixels)


def to_tensor(picture: Image.Image) -> torch.Tensor:
    resized = picture.resize((60, 60), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1).float() / 25


def localize(
    picture: Image.Image, empty: EmptyClasses | None, label: int | None = None, **options: int
) -> Localization:
    processor = MapPostProcessor(CLASSES, 0.5, LocalizeOptions(**options), empty=empty)  # type: ignore[arg-type]
    model, labels = TorchModel(ImageIsMap(), to_tensor, CLASSES), None if label is None else [label]  # type: ignore[arg-type]
    (found,) = localize_batch(model, processor, [picture], ["a.png"], labels)
    return found


def test_probability_of_an_object_is_one_less_that_of_the_empty_classes() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 7)
    found = EmptyClasses((1, 3)).object_probability(probabilities)
    np.testing.assert_allclose(found, 1 - probabilities[:, [1, 3]].sum(axis=1))
    assert found.shape == (7,)


def test_without_calibration_the_most_probable_class_decides() -> None:
    probabilities = np.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]])
    assert EmptyClasses((0,)).has_object(probabilities).tolist() == [False, True]
    # The sum of two classes with an object: 0.6 and 0.7.
    assert EmptyClasses((0,), 0.65).has_object(probabilities).tolist() == [False, True]
    assert EmptyClasses((0,), 0.55).has_object(probabilities).tolist() == [True, True]
    assert EmptyClasses((0,), 0.55).without_threshold() == EmptyClasses((0,))


def test_the_classes_that_fit_come_first_in_their_order() -> None:
    ranked = np.array([[2, 0, 1, 3], [2, 0, 1, 3]])
    found = EmptyClasses((0, 3)).reorder(ranked, np.array([True, False]))
    assert found.tolist() == [[2, 1, 0, 3], [0, 3, 2, 1]]


def test_an_image_of_an_empty_class_gets_no_box_and_its_class_is_named() -> None:
    empty = EmptyClasses((1,))
    found = localize(image(50, 200, 0), empty, masks=True)
    assert found.empty
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.masks is not None
    assert found.masks.shape == (0, 80, 120)
    assert CLASSES[found.map_label] == "green"
    assert found.object_prob == pytest.approx(1 - found.class_probs[1], abs=1e-6)
    assert repr(found) == "Localization('a.png', 120 x 80, no object: green)"


def test_others_get_the_box_that_they_had() -> None:
    before, found = localize(image(200, 50, 0), None), localize(image(200, 50, 0), EmptyClasses((1,)))
    assert not found.empty
    np.testing.assert_array_equal(found.boxes_xyxy, before.boxes_xyxy)
    assert before.object_prob is None
    assert found.object_prob == pytest.approx(1 - found.class_probs[1], abs=1e-6)


def test_a_calibrated_probability_goes_before_the_most_probable_class() -> None:
    picture = image(50, 60, 50)  # green is the most probable, red and blue together are more probable
    assert localize(picture, EmptyClasses((1,))).empty
    found = localize(picture, EmptyClasses((1,), 0.3))
    assert found.labels.tolist() == [0]
    assert CLASSES[found.map_label] == "red"
    certain = image(200, 50, 0)
    strict = localize(certain, EmptyClasses((1,), 0.9999))
    assert strict.empty
    assert CLASSES[strict.map_label] == "green", "of the classes that fit the decision, the most probable"


def test_several_classes_and_regions_leave_the_empty_class_out() -> None:
    picture = image(200, 190, 180)
    assert localize(picture, None, top_k=3).labels.tolist() == [0, 1, 2]
    assert localize(picture, EmptyClasses((1,)), top_k=3).labels.tolist() == [0, 2]
    assert localize(picture, EmptyClasses((1,)), top_k=2, multi=True).labels.tolist() == [0, 2]
    assert localize(picture, EmptyClasses((0,)), top_k=3).labels.tolist() == []


def test_a_class_that_is_asked_for_is_searched_unless_it_is_empty() -> None:
    empty, picture = EmptyClasses((1,)), image(50, 200, 0)
    found = localize(picture, empty, label=0)
    assert not found.empty
    assert found.labels.tolist() == [0]
    assert localize(picture, empty, label=1).empty
