"""Whether an image has an object, where some classes are without one (``data.empty_classes``). NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cdtr.records import FloatArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EmptyClasses:
    """The classes without an object, and the rule by which an image gets no box.

    Attributes:
        labels: Their labels, ascending; at least one class is not among them.
        threshold: Probability of an object, in [0, 1], from which an image gets a box; None where none was calibrated:
            an image whose most probable class has an object then gets one.
    """

    labels: tuple[int, ...]
    threshold: float | None = None

    def object_probability(self, probabilities: FloatArray) -> FloatArray:
        """Sum the probabilities of the classes with an object.

        Args:
            probabilities: (..., C) of all classes.

        Returns:
            (...,) in [0, 1]: 1 less the sum over the classes without an object.
        """
        others = np.setdiff1d(np.arange(probabilities.shape[-1]), self.labels)
        found: FloatArray = np.minimum(probabilities[..., others].sum(axis=-1), 1)
        return found

    def has_object(self, probabilities: FloatArray) -> BoolArray:
        """Decide which images have an object.

        Args:
            probabilities: (B, C) of all classes.

        Returns:
            (B,) booleans.
        """
        if self.threshold is None:
            return ~self.is_empty(probabilities.argmax(axis=1))
        return np.asarray(self.object_probability(probabilities) >= self.threshold)

    def is_empty(self, labels: npt.NDArray[np.int64]) -> BoolArray:
        """Whether each of the labels, of any shape, is a class without an object."""
        return np.isin(labels, self.labels)

    def reorder(self, ranked: npt.NDArray[np.int64], has_object: BoolArray) -> npt.NDArray[np.int64]:
        """Move the classes that fit the decision to the front; the order is kept otherwise.

        Args:
            ranked: (B, C) labels, the most probable first.
            has_object: (B,) of ``has_object``.

        Returns:
            (B, C): classes with an object first where the image has one, else those without.
        """
        unfit = self.is_empty(ranked) == has_object[:, None]
        return np.take_along_axis(ranked, np.argsort(unfit, axis=1, kind="stable"), axis=1)

    def without_threshold(self) -> EmptyClasses:
        """Return the rule that needs no calibration."""
        return replace(self, threshold=None)

    def describe(self, class_names: Sequence[str]) -> str:
        """Return the classes and the rule, in words."""
        names = ", ".join(class_names[label] for label in self.labels)
        if self.threshold is None:
            return f"classes without an object: {names}; an image gets a box where another class is the most probable"
        return (
            f"classes without an object: {names}; an image gets a box where the probability of an object is at least "
            f"{self.threshold:.3g}, as calibrated"
        )
