"""Scores of predictions that ignore the image: the whole image, the best centred box, and the largest class.

The centred boxes and the class are chosen on the evaluated images themselves: they are upper bounds that flatter the
baseline. A method that does not exceed them has not localized or recognised anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.localization.boxes import REFERENCE, BoxRule
from cdtr.metrics.outcomes import ImageRow, Outcomes
from cdtr.metrics.record import ImageMetric
from cdtr.metrics.registry import image_metrics

STEPS = 20  # relative widths and heights 0.05, 0.10, ..., 1
FULL_IMAGE, CENTRE_BOX, CENTRE_BOX_PER_CLASS = "full_image", "centre_box", "centre_box_per_class"
BASELINE_TITLES: Mapping[str, str] = {
    FULL_IMAGE: "whole image",
    CENTRE_BOX: "centred box*",
    CENTRE_BOX_PER_CLASS: "centred box a class*",
}
LARGEST_CLASS = "largest_class"
CLASS_BASELINE_TITLES: Mapping[str, str] = {LARGEST_CLASS: "largest class"}
_TOP = 5  # classes that Top-5 counts

CHOSEN_ON = "the evaluated images: an upper bound that flatters the baseline"
_SELECTING_METRIC = "gt_known_loc"

Hits = dict[str, npt.NDArray[np.int64]]  # metric key -> (STEPS * STEPS,) images hit by each box


def centred_boxes(size_hw: tuple[int, int], inclusive: bool = True) -> npt.NDArray[np.float64]:
    """List all centred boxes.

    Args:
        size_hw: Height and width of the frame in pixels.
        inclusive: Whether the last pixel belongs to a box.

    Returns:
        (STEPS * STEPS, 4) corners (x0, y0, x1, y1) in pixels; the last box is the whole image.
    """
    height, width = size_hw
    shares = np.arange(1, STEPS + 1) / STEPS
    heights, widths = (side.ravel() for side in np.meshgrid(shares * height, shares * width, indexing="ij"))
    left, top = (width - widths) / 2, (height - heights) / 2
    return np.stack([left, top, left + widths - inclusive, top + heights - inclusive], axis=1)


def baseline_metrics() -> tuple[ImageMetric, ...]:
    """List the metrics that are reported for trivial boxes: those with ``chosen_by``."""
    return tuple(metric for metric in image_metrics() if metric.chosen_by is not None)


def largest_class(rows: Iterable[ImageRow]) -> dict[str, Any]:
    """Compute the scores of naming the largest class for every image, and the five largest for Top-5.

    Args:
        rows: At least one image.

    Returns:
        The metrics that need no box, in percent, ``label``, the class, and what it was ``chosen_on``.

    >>> rows = [ImageRow(str(i), label=i // 3, predicted=1, prob=0.9, in_top5=True) for i in range(4)]
    >>> largest_class(rows)["top1_cls"], largest_class(rows)["mean_recall"]
    (75.0, 50.0)
    """
    rows = list(rows)
    largest = [label for label, _ in Counter(row.label for row in rows).most_common(_TOP)]
    named = [replace(row, predicted=largest[0], in_top5=row.label in largest) for row in rows]
    scores = {metric.key: metric.compute(named) for metric in image_metrics() if not metric.needs_box}
    return {**scores, "label": largest[0], "chosen_on": CHOSEN_ON}


class CentredBoxes:
    """Hits of every centred box, counted for each class.

    Args:
        size_hw: Height and width, in pixels, of the frame that the true boxes are given in; at least STEPS each.
        rule: Convention of boxes and IoU.

    Attributes:
        count: Number of images.

    Raises:
        DataError: For a frame that is too small.

    >>> boxes = CentredBoxes((100, 100))
    >>> boxes.update([[0, 0, 99, 99]], label=0, top1=True, top5=True)
    >>> boxes.compute()["full_image"]["top1_loc"]
    100.0
    """

    def __init__(self, size_hw: tuple[int, int] = (224, 224), rule: BoxRule = REFERENCE) -> None:
        self.size_hw = size_hw
        # A side under one pixel makes a box that inclusive IoU refuses.
        if min(size_hw) < STEPS:
            raise DataError(f"size {size_hw}: expected at least {STEPS} pixels a side")
        self._rule = rule
        self._boxes = centred_boxes(size_hw, rule.inclusive)
        self._hits: dict[int, Hits] = {}
        self.count = 0

    def update(self, gt_boxes_xyxy: npt.ArrayLike, label: int, top1: bool, top5: bool) -> None:
        """Count one image.

        Args:
            gt_boxes_xyxy: (N, 4) true boxes in the frame; no box is hit if N = 0.
            label: Index of the true class.
            top1: Whether the predicted class is correct.
            top5: Whether the true class is among the five most probable classes.
        """
        best = self._rule.iou(self._boxes, gt_boxes_xyxy).max(axis=1, initial=0)
        outcomes = Outcomes(best, top1, top5)
        self._add(label, {metric.key: metric.value(outcomes).astype(np.int64) for metric in baseline_metrics()})
        self.count += 1

    def merge(self, other: CentredBoxes) -> None:
        """Add the counts of another part of the data set.

        Raises:
            DataError: If the frames have different sizes.
        """
        if self.size_hw != other.size_hw:
            raise DataError(f"cannot merge baselines of sizes {self.size_hw} and {other.size_hw}")
        for label, hits in other._hits.items():
            self._add(label, hits)
        self.count += other.count

    def compute(self) -> dict[str, dict[str, Any]]:
        """Compute the scores of each baseline.

        Returns:
            ``full_image``, ``centre_box`` (one box for all images) and ``centre_box_per_class`` (one for each class):
            metrics in percent, the box's ``relative_size_hw`` and what it was ``chosen_on``. A metric's box is the best
            one by the metric that its ``chosen_by`` names.

        Raises:
            DataError: If no image was counted.
        """
        if not self.count:
            raise DataError("no annotated image: the baselines need ground-truth boxes")
        per_class = [self._hits[label] for label in sorted(self._hits)]
        pooled = {key: np.sum([hits[key] for hits in per_class], axis=0) for key in per_class[0]}
        best_of_each = [_best(hits) for hits in per_class]
        return {
            FULL_IMAGE: self._percent({key: int(hits[-1]) for key, hits in pooled.items()}),
            CENTRE_BOX: {
                **self._percent(_best(pooled)),
                "relative_size_hw": _relative_size(int(pooled[_SELECTING_METRIC].argmax())),
                "chosen_on": CHOSEN_ON,
            },
            CENTRE_BOX_PER_CLASS: {
                **self._percent({key: sum(best[key] for best in best_of_each) for key in pooled}),
                "chosen_on": CHOSEN_ON,
            },
        }

    def _add(self, label: int, hits: Hits) -> None:
        known = self._hits.get(label)
        self._hits[label] = hits if known is None else {key: known[key] + more for key, more in hits.items()}

    def _percent(self, hits: Mapping[str, int]) -> dict[str, float]:
        return {key: 100 * count / self.count for key, count in hits.items()}


def _best(hits: Hits) -> dict[str, int]:
    """Take each metric's hits of the box that its ``chosen_by`` selects."""
    chosen = {metric.key: hits[metric.chosen_by or metric.key].argmax() for metric in baseline_metrics()}
    return {key: int(hits[key][index]) for key, index in chosen.items()}


def _relative_size(index: int) -> list[float]:
    """Height and width of a centred box as shares of the image's."""
    return [(index // STEPS + 1) / STEPS, (index % STEPS + 1) / STEPS]
