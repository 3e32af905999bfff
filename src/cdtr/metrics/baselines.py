"""What boxes that never look at the picture would score: the whole image, and the best centred box.

The centred boxes are chosen on the evaluated images themselves, so they are upper bounds that flatter the baseline. A
method that does not clear them has not localized anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.localization.boxes import REFERENCE, BoxRule
from cdtr.metrics.loc_accuracy import LOC_IOU, STRICT_LOC_IOU

STEPS = 20  # relative widths and heights 0.05, 0.10, ..., 1

_CHOSEN_ON = "the evaluated images: an upper bound that flatters the baseline"


def centred_boxes(size_hw: tuple[int, int], inclusive: bool = True) -> npt.NDArray[np.float64]:
    """All centred boxes (STEPS * STEPS, 4) in pixels of ``size_hw``; the last one is the whole image."""
    height, width = size_hw
    shares = np.arange(1, STEPS + 1) / STEPS
    heights, widths = (side.ravel() for side in np.meshgrid(shares * height, shares * width, indexing="ij"))
    left, top = (width - widths) / 2, (height - heights) / 2
    return np.stack([left, top, left + widths - inclusive, top + heights - inclusive], axis=1)


class CentredBoxes:
    """Hits of every centred box, counted for each class: GT-known, with Top-1, with Top-5, and GT-known at IoU 0.7."""

    def __init__(self, size_hw: tuple[int, int] = (224, 224), rule: BoxRule = REFERENCE) -> None:
        self.size_hw = size_hw
        # A side under one pixel makes a box that inclusive IoU refuses.
        if min(size_hw) < STEPS:
            raise DataError(f"size {size_hw}: expected at least {STEPS} pixels a side")
        self._rule = rule
        self._boxes = centred_boxes(size_hw, rule.inclusive)
        self._hits: dict[int, npt.NDArray[np.int64]] = {}
        self.count = 0

    def update(self, gt_boxes_xyxy: npt.ArrayLike, label: int, top1: bool, top5: bool) -> None:
        """Count one image by its boxes (N, 4), and whether its class was predicted; none of N = 0 boxes is hit."""
        best = self._rule.iou(self._boxes, gt_boxes_xyxy).max(axis=1, initial=0)
        hit = best >= LOC_IOU
        hits = np.stack([hit, hit & top1, hit & top5, best >= STRICT_LOC_IOU]).astype(np.int64)
        self._hits[label] = self._hits.get(label, 0) + hits
        self.count += 1

    def merge(self, other: CentredBoxes) -> None:
        """Add the counts of another part of the data set."""
        if self.size_hw != other.size_hw:
            raise DataError(f"cannot merge baselines of sizes {self.size_hw} and {other.size_hw}")
        for label, hits in other._hits.items():
            self._hits[label] = self._hits.get(label, 0) + hits
        self.count += other.count

    def compute(self) -> dict[str, dict[str, Any]]:
        """Percentages of ``full_image``, ``centre_box`` (one for all) and ``centre_box_per_class`` (one a class).

        The box is the best by GT-known; the one behind ``gt_known_loc_iou70`` is chosen by that number itself.
        """
        if not self.count:
            raise DataError("no annotated image: the baselines need ground-truth boxes")
        per_class = np.stack([self._hits[label] for label in sorted(self._hits)])  # (classes, 4, boxes)
        pooled = per_class.sum(axis=0)
        relative = _relative_size(int(pooled[0].argmax()))
        return {
            "full_image": self._scores(pooled[:, -1]),
            "centre_box": {**self._scores(_best(pooled)), "relative_size_hw": relative, "chosen_on": _CHOSEN_ON},
            "centre_box_per_class": {
                **self._scores(np.sum([_best(hits) for hits in per_class], axis=0)),
                "chosen_on": _CHOSEN_ON,
            },
        }

    def _scores(self, hits: npt.NDArray[np.int64]) -> dict[str, Any]:
        names = ("gt_known_loc", "top1_loc", "top5_loc", "gt_known_loc_iou70")
        return {name: 100 * int(n) / self.count for name, n in zip(names, hits, strict=True)}


def _best(hits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The counts (4,) of the best box among (4, boxes)."""
    chosen: npt.NDArray[np.int64] = hits[:, hits[0].argmax()].copy()
    chosen[3] = hits[3].max()
    return chosen


def _relative_size(index: int) -> list[float]:
    """Height and width of a centred box as shares of the image."""
    return [(index // STEPS + 1) / STEPS, (index % STEPS + 1) / STEPS]
