"""MaxBoxAcc and MaxBoxAccV2: the hit rate at the best map threshold.

Reference: Choe et al., CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.localization.sweep import best_ious
from cdtr.metrics.outcomes import LOC_IOU, BoolArray, localized
from cdtr.metrics.record import Float64Array, SweepCounts, SweepMetric
from cdtr.records import FloatArray

LOC_LEVEL = round(100 * LOC_IOU)  # of MaxBoxAcc, in percent


def box_hits(best_iou: npt.NDArray[np.float64], iou: Sequence[int]) -> BoolArray:
    """Compare IoUs with several levels.

    Args:
        best_iou: (T,) largest IoU at each map threshold, in [0, 1].
        iou: The L levels, in percent.

    Returns:
        (L, T) booleans, true where the IoU reaches the level.
    """
    return localized(best_iou[None, :], level=(np.asarray(iou) / 100)[:, None])


def hit_rates(hits: npt.NDArray[np.generic], images: npt.ArrayLike) -> Float64Array:
    """Convert hits to percent of the images.

    Args:
        hits: (..., L, T) counts at L IoU levels and T map thresholds.
        images: (...) numbers of images.

    Returns:
        (..., L, T) in percent; NaN where there is no image.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rates: Float64Array = 100 * hits / np.asarray(images)[..., None, None]
    return rates


def _max_box_acc(counts: SweepCounts) -> Float64Array:
    """MaxBoxAcc: the best rate of the largest contour at IoU 0.5; NaN if 0.5 is not among the levels."""
    if LOC_LEVEL not in counts.levels:
        return np.full(len(counts.images), np.nan)
    best: Float64Array = hit_rates(counts.largest, counts.images).max(axis=-1)[:, counts.levels.index(LOC_LEVEL)]
    return best


def _max_box_acc_v2(counts: SweepCounts) -> Float64Array:
    """MaxBoxAccV2: the mean over the IoU levels of the best rate of all contours."""
    best: Float64Array = hit_rates(counts.all_contours, counts.images).max(axis=-1).mean(axis=-1)
    return best


METRICS = (
    SweepMetric(key="max_box_acc", title="MaxBoxAcc", order=70, of_counts=_max_box_acc),
    SweepMetric(key="max_box_acc_v2", title="MaxBoxAccV2", order=80, of_counts=_max_box_acc_v2),
)


class MaxBoxAcc:
    """Count the images that are hit at each map threshold and IoU level.

    ``max_box_acc`` is the best rate at IoU 0.5; ``max_box_acc_v2`` is the mean over the IoU levels of the best rate of
    each. The published MaxBoxAcc is the first with one contour, MaxBoxAccV2 the second with ``multi_contour`` and IoU
    0.3, 0.5, 0.7.

    Args:
        thresholds: (T,) map thresholds in [0, 1].
        iou: IoU levels in percent.
        multi_contour: Whether the boxes of all contours count instead of the largest contour's.

    Attributes:
        hits: (len(iou), T) number of images that are hit.
        count: Number of images.

    Raises:
        DataError: For thresholds or levels of another shape or range.

    Reference: Choe et al., CVPR 2020.

    >>> import numpy as np
    >>> metric = MaxBoxAcc([0.0, 0.5])
    >>> score_map = np.zeros((8, 8)); score_map[2:5, 2:5] = 1
    >>> metric.update(score_map, [[2, 2, 5, 5]])
    >>> metric.hits.tolist(), metric.count
    ([[1, 1], [1, 1], [1, 1]], 1)
    """

    def __init__(
        self,
        thresholds: Sequence[float] | FloatArray,
        iou: Sequence[int] = (30, 50, 70),
        multi_contour: bool = False,
    ) -> None:
        self.thresholds = np.asarray(thresholds, dtype=np.float64)
        if self.thresholds.ndim != 1 or not len(self.thresholds):
            raise DataError(f"thresholds of shape {self.thresholds.shape}: expected a list of one or more")
        if not iou or not all(0 < level <= 100 for level in iou):
            raise DataError(f"IoU levels {tuple(iou)}: expected percentages such as (30, 50, 70)")
        self.iou = tuple(iou)
        self.multi_contour = multi_contour
        self.hits: npt.NDArray[np.int64] = np.zeros((len(self.iou), len(self.thresholds)), dtype=np.int64)
        self.count = 0

    def update(self, score_map: FloatArray, gt_boxes_xyxy: npt.ArrayLike) -> None:
        """Count one image.

        Args:
            score_map: (H, W) in [0, 1].
            gt_boxes_xyxy: (N, 4) true boxes scaled to the map, inclusive corners, N >= 1.
        """
        self.update_ious(best_ious(score_map, gt_boxes_xyxy, self.thresholds, self.multi_contour))

    def update_ious(self, best_iou: npt.NDArray[np.float64]) -> None:
        """Count one image by the (T,) IoUs that ``best_ious`` returned at this metric's thresholds."""
        self.hits += box_hits(best_iou, self.iou)
        self.count += 1

    def merge(self, other: MaxBoxAcc) -> None:
        """Add the counts of another part of the data set.

        Raises:
            DataError: If the thresholds, the IoU levels or the contour modes differ.
        """
        same = self.iou == other.iou and self.multi_contour == other.multi_contour
        if not same or not np.array_equal(self.thresholds, other.thresholds):
            raise DataError("cannot merge MaxBoxAcc of different thresholds, IoU levels or contour modes")
        self.hits += other.hits
        self.count += other.count

    @property
    def rates(self) -> Float64Array:
        """(len(iou), T) hit rates in percent."""
        if not self.count:
            raise DataError("MaxBoxAcc has seen no image: update it with annotated images first")
        return hit_rates(self.hits, self.count)

    def compute(self) -> dict[str, float | None]:
        """Compute the best hit rates.

        Returns:
            ``max_box_acc`` and ``max_box_acc_v2`` in percent, and ``best_threshold``, the first that is best at IoU
            0.5. The first and the last are None if 50 is not among the levels.

        Raises:
            DataError: If no image was counted.
        """
        rates = self.rates
        v2 = float(rates.max(axis=1).mean())
        if LOC_LEVEL not in self.iou:
            return {"max_box_acc": None, "max_box_acc_v2": v2, "best_threshold": None}
        at_level = rates[self.iou.index(LOC_LEVEL)]
        best = int(at_level.argmax())
        return {
            "max_box_acc": float(at_level[best]),
            "max_box_acc_v2": v2,
            "best_threshold": float(self.thresholds[best]),
        }
