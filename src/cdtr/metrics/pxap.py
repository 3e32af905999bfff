"""PxAP of Choe et al. 2020: average precision of the pixels' scores against masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.localization.maps import check_score_map
from cdtr.records import FloatArray, UInt8Array

IntArray = npt.NDArray[np.int64]

BACKGROUND, OBJECT, IGNORE = 0, 1, 255


def pixel_histograms(score_map: FloatArray, mask: UInt8Array, edges: npt.NDArray[np.float64]) -> IntArray:
    """Counts (2, len(edges) - 1) of the object's and the background's scores between ``edges``, without ignored pixels.

    score_map: (H, W) in [0, 1]. mask: (H, W), 1 object, 0 background, 255 ignore.
    """
    check_score_map(score_map)
    if mask.shape != score_map.shape:
        raise DataError(f"mask of shape {mask.shape}, map of shape {score_map.shape}: expected the same size")
    if not np.isin(mask, (BACKGROUND, OBJECT, IGNORE)).all():
        raise DataError(f"mask with values {np.unique(mask).tolist()}: expected 1 object, 0 background, 255 ignore")
    bins = np.searchsorted(edges, score_map.astype(np.float64), "right") - 1
    counts = [np.bincount(bins[mask == kind], minlength=len(edges))[: len(edges) - 1] for kind in (OBJECT, BACKGROUND)]
    return np.stack(counts).astype(np.int64)


def average_precisions(histograms: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``average_precision`` of each of (B, 2, bins) weighted counts; NaN where no object pixel was counted."""
    true_positives, false_positives = histograms[:, :, ::-1].cumsum(axis=2).transpose(1, 0, 2)
    predicted = true_positives + false_positives
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = true_positives / true_positives[:, -1:]
    precision = np.divide(true_positives, predicted, out=np.zeros_like(predicted), where=predicted > 0)
    found: npt.NDArray[np.float64] = 100 * (precision[:, 1:] * np.diff(recall, axis=1)).sum(axis=1)
    return found


def precision_recall(histograms: IntArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision and recall (bins,) of counts (2, bins), cumulated from the highest score on; 0 where none is found."""
    true_positives, false_positives = histograms[:, ::-1].cumsum(axis=1)
    predicted = true_positives + false_positives
    precision = np.divide(true_positives, predicted, out=np.zeros(len(predicted)), where=predicted > 0)
    return precision, true_positives / max(int(true_positives[-1]), 1)


def average_precision(histograms: IntArray) -> float:
    """Percent from counts (2, bins) of object and background, the bins in ascending order of score."""
    if not histograms[0].any():
        raise DataError("no object pixel in any mask: PxAP needs at least one, check the masks")
    precision, recall = precision_recall(histograms)
    return float(100 * (precision[1:] * np.diff(recall)).sum())


class PxAP:
    """Histograms of the object's and the background's scores over a data set.

    >>> import numpy as np
    >>> metric = PxAP(np.arange(0, 1, 0.1))
    >>> metric.update(np.array([[1.0, 0.0]]), np.array([[1, 0]], dtype=np.uint8))
    >>> metric.compute()
    100.0
    """

    def __init__(self, thresholds: Sequence[float] | FloatArray) -> None:
        lower = np.asarray(thresholds, dtype=np.float64)
        if lower.ndim != 1 or not len(lower) or lower[0] != 0 or lower[-1] >= 1 or (np.diff(lower) <= 0).any():
            raise DataError(
                "PxAP thresholds: expected an ascending list from 0 to below 1, such as arange(0, 1, 0.001)"
            )
        self.thresholds = lower
        # The bin above 1 stays empty and starts the curve at recall 0.
        self.edges = np.concatenate([lower, [1.0, 2.0, 3.0]])
        self.histograms: IntArray = np.zeros((2, len(self.edges) - 1), dtype=np.int64)
        self.count = 0

    def update(self, score_map: FloatArray, mask: UInt8Array) -> None:
        """Count one image: a map (H, W) in [0, 1] and its mask (H, W), 1 object, 0 background, 255 ignore."""
        self.add(pixel_histograms(score_map, mask, self.edges))

    def add(self, histograms: IntArray) -> None:
        """Count one image by what ``pixel_histograms`` answered for it."""
        self.histograms += histograms
        self.count += 1

    def merge(self, other: PxAP) -> None:
        """Add the counts of another part of the data set."""
        if not np.array_equal(self.edges, other.edges):
            raise DataError("cannot merge PxAP of different thresholds")
        self.histograms += other.histograms
        self.count += other.count

    def compute(self) -> float:
        """PxAP in percent."""
        return average_precision(self.histograms)
