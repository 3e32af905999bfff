"""Base and novel noise against a case worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cdtr.errors import DataError
from cdtr.metrics.attention import outside_shares
from cdtr.metrics.noise import NOISE_KINDS, noise_regions, split_outside

# Three classes on 2 x 3 patches. At each patch one class has the probability below, the others share the rest.
BEST = np.array([[0, 1, 2], [0, 1, 2]])
PROBABILITY = np.array([[0.9, 0.8, 0.4], [0.45, 0.51, 0.6]])
KINDS_OF_CLASS_0 = [["own", "base", "novel"], ["novel", "base", "base"]]


def class_maps() -> np.ndarray:
    probabilities = np.repeat(((1 - PROBABILITY) / 2)[None], 3, axis=0)
    np.put_along_axis(probabilities, BEST[None], PROBABILITY[None], axis=0)
    return np.log(probabilities) + np.array([[3.0, -5.0, 0.0], [1.0, 2.0, 900.0]])  # softmax does not see a constant


def test_what_is_recognised_at_each_patch() -> None:
    named = np.array(NOISE_KINDS)
    assert named[noise_regions(class_maps(), 0)].tolist() == KINDS_OF_CLASS_0
    of_class_1 = named[noise_regions(class_maps(), 1)]
    assert of_class_1.tolist() == [["base", "own", "novel"], ["novel", "own", "base"]]


def test_shares_by_hand() -> None:
    attention = np.array([[4.0, 1.0, 2.0], [1.0, 1.0, 1.0]])  # 10 in all
    regions = noise_regions(class_maps(), 0)
    box = [[0, 0, 10, 10]]  # of an image of 20 x 30 pixels: the first patch
    assert split_outside(attention, regions, box, (20, 30)) == pytest.approx({"base": 0.3, "novel": 0.3, "own": 0.0})
    half = split_outside(attention, regions, [[0, 0, 5, 10]], (20, 30))
    assert half == pytest.approx({"base": 0.3, "novel": 0.3, "own": 0.2}), "half of the first patch is outside"
    area = split_outside(np.ones((2, 3)), regions, box, (20, 30))
    assert area == pytest.approx({"base": 3 / 6, "novel": 2 / 6, "own": 0.0})


def test_the_kinds_add_up_to_the_share_outside() -> None:
    random = np.random.default_rng(0)
    attention, regions = random.random((7, 5)), noise_regions(random.normal(0, 2, (4, 7, 5)), 2)
    boxes = [[3.0, 2.0, 40.0, 31.0], [10.0, 20.0, 44.0, 50.0]]
    split, shares = split_outside(attention, regions, boxes, (63, 51)), outside_shares(attention, boxes, (63, 51))
    assert split is not None
    assert shares is not None
    assert sum(split.values()) == pytest.approx(shares[0])


@pytest.mark.parametrize(
    ("attention", "boxes"),
    [(np.ones((2, 3)), []), (np.ones((2, 3)), [[0, 0, 30, 20]]), (np.zeros((2, 3)), [[0, 0, 9, 9]])],
    ids=["no box", "box is everything", "no attention"],
)
def test_none_without_an_outside_or_attention(attention: np.ndarray, boxes: list[list[float]]) -> None:
    assert split_outside(attention, noise_regions(class_maps(), 0), boxes, (20, 30)) is None


@pytest.mark.parametrize(("shape", "label"), [((2, 3), 0), ((3, 2, 3), 3), ((3, 2, 3), -1), ((1, 2, 3), 0)], ids=str)
def test_maps_that_are_not_one_a_class_are_refused(shape: tuple[int, ...], label: int) -> None:
    with pytest.raises(DataError, match="at least two classes"):
        noise_regions(np.zeros(shape), label)


def test_regions_of_other_patches_are_refused() -> None:
    with pytest.raises(DataError, match="expected the same patches"):
        split_outside(np.ones((2, 2)), noise_regions(class_maps(), 0), [[0, 0, 9, 9]], (20, 30))


def test_attention_of_a_part_of_the_image() -> None:
    """The field is the middle of an image of 20 x 60 pixels; the box is its first patch."""
    regions = noise_regions(class_maps(), 0)
    split = split_outside(np.ones((2, 3)), regions, [[15, 0, 25, 10]], (20, 60), (15.0, 0.0, 45.0, 20.0))
    assert split == pytest.approx({"base": 3 / 6, "novel": 2 / 6, "own": 0.0})
