"""The outcome of each image, and the rule by which an image counts as localized."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cdtr.records import FloatArray

BoolArray = npt.NDArray[np.bool_]

LOC_IOU = 0.5  # IoU from which a box is a hit, in every WSOL benchmark
STRICT_LOC_IOU = 0.7


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether an image has an object, where some classes are without one (``data.empty_classes``).

    Attributes:
        prob: Predicted probability of an object, in [0, 1].
        boxed: Whether the image gets a box, by the rule of the run.
        true: Whether the image's class is one with an object.
    """

    prob: float
    boxed: bool
    true: bool


@dataclass(frozen=True, slots=True)
class ImageRow:
    """Prediction for one image and its comparison with the ground truth.

    Attributes:
        image_id: Name of the image.
        label: Index of the true class.
        predicted: Index of the predicted class.
        prob: Probability of the predicted class, in [0, 1].
        in_top5: Whether the true class is among the five most probable classes.
        iou_label: Largest IoU, in [0, 1], of the box from the true class's map with any true box; None if the image
            has no true box or no map threshold was given.
        iou_predicted: The same for the box from the predicted class's map.
        error: Kind of error of the true class's box, see ``cdtr.metrics.loc_errors``; None like ``iou_label``.
        score: Estimated probability that the predicted class's box is a hit; None if boxes have no scores.
        attention_ratio: Mean attention inside the true boxes over the mean outside; None if either is unknown.
        presence: Whether it has an object; None if every class has one.
    """

    image_id: str
    label: int
    predicted: int
    prob: float
    in_top5: bool
    iou_label: float | None = None
    iou_predicted: float | None = None
    error: str | None = None
    score: float | None = None
    attention_ratio: float | None = None
    presence: Presence | None = None


def localized(iou: npt.ArrayLike, class_correct: npt.ArrayLike = True, level: npt.ArrayLike = LOC_IOU) -> BoolArray:
    """Apply the localization rule: an image is localized if IoU >= level and its class is correct.

    With the most probable class this is Top-1 Loc, with "among the five most probable" Top-5 Loc, and without a
    condition on the class GT-known Loc.

    Args:
        iou: IoU of the box with the best-matching true box, in [0, 1], any shape.
        class_correct: Whether the class is correct; broadcast to ``iou``.
        level: Smallest IoU of a hit, in [0, 1]; broadcast to ``iou``.

    Returns:
        Boolean array of the broadcast shape. An IoU equal to the level is a hit.

    Reference: Choe et al., CVPR 2020.

    >>> localized([0.5, 0.49, 0.9], [True, True, False]).tolist()
    [True, False, False]
    """
    hits: BoolArray = (np.asarray(iou) >= np.asarray(level)) & np.asarray(class_correct)
    return hits


def mean_over_classes(sums: npt.ArrayLike, images: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Average the mean of each class over the classes that have images.

    Args:
        sums: (..., C) sum of the values of each class.
        images: (..., C) number of images of each class, or sum of their weights.

    Returns:
        (...,) means; NaN if no class has an image.

    >>> float(mean_over_classes([9, 0, 0], [10, 2, 0]))
    0.45
    """
    counts = np.asarray(images, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts > 0, np.asarray(sums) / counts, 0.0)
        found: npt.NDArray[np.float64] = means.sum(axis=-1) / (counts > 0).sum(axis=-1)
    return found


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Inputs of all metrics that have a value for each image.

    The n entries are n images, or one image under n boxes (trivial baselines) or n thresholds (oracle).

    Attributes:
        iou: (n,) IoU of the box with the best-matching true box, in [0, 1]; NaN if unknown.
        top1: (n,) or (), whether the predicted class is correct.
        top5: (n,) or (), whether the true class is among the five most probable classes.
    """

    iou: FloatArray
    top1: npt.ArrayLike
    top5: npt.ArrayLike

    @classmethod
    def of_rows(cls, rows: Iterable[ImageRow]) -> Outcomes:
        """Collect the outcomes of images, in their order."""
        listed = list(rows)
        return cls(
            iou=np.array([np.nan if row.iou_label is None else row.iou_label for row in listed], dtype=np.float64),
            top1=np.array([row.predicted == row.label for row in listed], dtype=bool),
            top5=np.array([row.in_top5 for row in listed], dtype=bool),
        )
