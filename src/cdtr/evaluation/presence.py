"""Choose the probability of an object from which an image gets a box, where some classes are without an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cdtr.evaluation.forward import ImagePrediction

KEPT_SHARE = 0.95  # of the images with an object, that keep their box
_LARGEST = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class ObjectThreshold:
    """A probability of an object, and what it does on the images that it was chosen on.

    Attributes:
        threshold: In [0, 1); an image with at least this probability gets a box.
        kept: Images with an object that get a box, in percent.
        false_boxes: Images without an object that get a box, in percent.
        n_objects: Number of images with an object.
        n_empty: Number of images without one.
    """

    threshold: float
    kept: float
    false_boxes: float
    n_objects: int
    n_empty: int

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values, as ``calibration.json`` holds them."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"an image gets a box from a probability of an object of {self.threshold:.3g}: {self.kept:.1f}% of "
            f"{self.n_objects} images with an object keep theirs, {self.false_boxes:.1f}% of {self.n_empty} images "
            "without one get one"
        )


def with_objects(found: Iterable[ImagePrediction], on_skip: Callable[[int], None]) -> Iterator[ImagePrediction]:
    """Yield the predictions for images of classes with an object; call ``on_skip`` with 1 for each other image."""
    for prediction in found:
        if prediction.presence is None or prediction.presence.true:
            yield prediction
        else:
            on_skip(1)


class ObjectScores:
    """Probabilities of an object, collected from predictions as they pass; an image that comes twice counts once."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, bool]] = {}

    def watch(self, found: Iterable[ImagePrediction]) -> Iterator[ImagePrediction]:
        """Yield the predictions as they come, and note those of images with a ``presence``."""
        for prediction in found:
            if prediction.presence is not None:
                self._seen[prediction.sample.image_id] = prediction.presence.prob, prediction.presence.true
            yield prediction

    def choose(self) -> ObjectThreshold | None:
        """Choose the threshold on the images seen so far; None unless some have an object and some have none.

        It is the largest at which 95% of the images with an object keep their box, lowered as far as no image without
        an object gets a box for it: where the two kinds are told apart, no box is lost.
        """
        objects = np.sort([prob for prob, true in self._seen.values() if true])
        empty = np.sort([prob for prob, true in self._seen.values() if not true])
        if not len(objects) or not len(empty):
            return None
        # The index of the first image that must keep its box.
        largest = objects[int(np.floor((1 - KEPT_SHARE) * len(objects) + 1e-9))]
        below = empty[empty < largest]
        lowest = float(below[-1]) if len(below) else 0.0
        next_object = float(objects[objects > lowest][0])
        # A float32 computation elsewhere must not move an image over it, so it lies between two images.
        threshold = min((lowest + next_object) / 2, _LARGEST)
        return ObjectThreshold(
            threshold=threshold,
            kept=100 * float((objects >= threshold).mean()),
            false_boxes=100 * float((empty >= threshold).mean()),
            n_objects=len(objects),
            n_empty=len(empty),
        )
