"""PxAP: average precision of the pixels' scores against masks.

Reference: Choe et al., CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.localization.maps import check_score_map
from cdtr.metrics.record import SweepMetric
from cdtr.records import FloatArray, UInt8Array

IntArray = npt.NDArray[np.int64]

BACKGROUND, OBJECT, IGNORE = 0, 1, 255


def pixel_histograms(score_map: FloatArray, mask: UInt8Array, edges: npt.NDArray[np.float64]) -> IntArray:
    """Count the scores of object and background pixels; ignored pixels are left out.

    Args:
        score_map: (H, W) in [0, 1].
        mask: (H, W), 1 object, 0 background, 255 ignore.
        edges: Ascending edges of the bins.

    Returns:
        (2, len(edges) - 1) counts of object and background.

    Raises:
        DataError: If the map is not in [0, 1], or the mask has another size or other values.
    """
    check_score_map(score_map)
    if mask.shape != score_map.shape:
        raise DataError(f"mask of shape {mask.shape}, map of shape {score_map.shape}: expected the same size")
    if not np.isin(mask, (BACKGROUND, OBJECT, IGNORE)).all():
        raise DataError(f"mask with values {np.unique(mask).tolist()}: expected 1 object, 0 background, 255 ignore")
    bins = np.searchsorted(edges, score_map.astype(np.float64), "right") - 1
    counts = [np.bincount(bins[mask == kind], minlength=len(edges))[: len(edges) - 1] for kind in (OBJECT, BACKGROUND)]
    return np.stack(counts).astype(np.int64)


def precision_recall(
    histograms: npt.NDArray[np.generic],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute precision and recall at every threshold.

    Args:
        histograms: (..., 2, bins) counts of object and background, the bins in ascending order of score.

    Returns:
        Precision and recall (..., bins) in [0, 1], from the highest threshold to the lowest. Precision is 0 where no
        pixel is above the threshold; recall is NaN if there is no object pixel.
    """
    cumulated = histograms[..., ::-1].cumsum(axis=-1)
    true_positives, false_positives = cumulated[..., 0, :], cumulated[..., 1, :]
    predicted = true_positives + false_positives
    precision = np.divide(true_positives, predicted, out=np.zeros(predicted.shape), where=predicted > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall: npt.NDArray[np.float64] = true_positives / true_positives[..., -1:]
    return precision, recall


def average_precision(histograms: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Compute the area under precision over recall: the sum of precision_i * (recall_i - recall_(i-1)).

    Args:
        histograms: (..., 2, bins) counts of object and background, the bins in ascending order of score.

    Returns:
        (...) in percent; NaN if there is no object pixel.
    """
    precision, recall = precision_recall(histograms)
    area: npt.NDArray[np.float64] = 100 * (precision[..., 1:] * np.diff(recall, axis=-1)).sum(axis=-1)
    return area


METRICS = (SweepMetric(key="pxap", title="PxAP", order=90, of_counts=lambda counts: average_precision(counts.pixels)),)


class PxAP:
    """Average precision of the pixels' scores over a data set.

    Args:
        thresholds: Ascending, from 0 to below 1.

    Attributes:
        histograms: (2, bins) scores of object and background pixels.
        count: Number of images.

    Raises:
        DataError: For other thresholds.

    Reference: Choe et al., CVPR 2020.

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
        # The bin above 1 stays empty, so that the curve starts at recall 0.
        self.edges = np.concatenate([lower, [1.0, 2.0, 3.0]])
        self.histograms: IntArray = np.zeros((2, len(self.edges) - 1), dtype=np.int64)
        self.count = 0

    def update(self, score_map: FloatArray, mask: UInt8Array) -> None:
        """Count one image.

        Args:
            score_map: (H, W) in [0, 1].
            mask: (H, W), 1 object, 0 background, 255 ignore.
        """
        self.update_histograms(pixel_histograms(score_map, mask, self.edges))

    def update_histograms(self, histograms: IntArray) -> None:
        """Count one image by the (2, bins) counts that ``pixel_histograms`` returned at this metric's edges."""
        self.histograms += histograms
        self.count += 1

    def merge(self, other: PxAP) -> None:
        """Add the counts of another part of the data set.

        Raises:
            DataError: If the thresholds differ.
        """
        if not np.array_equal(self.edges, other.edges):
            raise DataError("cannot merge PxAP of different thresholds")
        self.histograms += other.histograms
        self.count += other.count

    def compute(self) -> float:
        """Compute PxAP in percent.

        Raises:
            DataError: If no mask has an object pixel.
        """
        if not self.histograms[0].any():
            raise DataError("no object pixel in any mask: PxAP needs at least one, check the masks")
        return float(average_precision(self.histograms))
