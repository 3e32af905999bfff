"""MaxBoxAcc and MaxBoxAccV2 of Choe et al. 2020: the hit rate at the best map threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.localization.sweep import best_ious
from cdtr.records import FloatArray

BoolArray = npt.NDArray[np.bool_]


def box_hits(best_iou: npt.NDArray[np.float64], iou: Sequence[int]) -> BoolArray:
    """Which of the IoU levels (percent) each value reaches: (T,) -> (len(iou), T)."""
    return best_iou[None, :] >= (np.asarray(iou) / 100)[:, None]


class MaxBoxAcc:
    """Counts the images that are hit at each threshold and IoU level.

    ``max_box_acc`` is the best rate at IoU 50; ``max_box_acc_v2`` is the mean over the IoU levels of each one's best.
    The published MaxBoxAcc is the first with one contour, MaxBoxAccV2 the second with ``multi_contour`` and IoU 30, 50,
    70.

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
        """Count one image: a map (H, W) in [0, 1], and inclusive ground-truth corners (N, 4) scaled to it, N >= 1."""
        self.add(best_ious(score_map, gt_boxes_xyxy, self.thresholds, self.multi_contour))

    def add(self, best_iou: npt.NDArray[np.float64]) -> None:
        """Count one image by what ``best_ious`` answered for it at this metric's thresholds, (T,)."""
        self.hits += box_hits(best_iou, self.iou)
        self.count += 1

    def merge(self, other: MaxBoxAcc) -> None:
        """Add the counts of another part of the data set."""
        same = self.iou == other.iou and self.multi_contour == other.multi_contour
        if not same or not np.array_equal(self.thresholds, other.thresholds):
            raise DataError("cannot merge MaxBoxAcc of different thresholds, IoU levels or contour modes")
        self.hits += other.hits
        self.count += other.count

    @property
    def rates(self) -> npt.NDArray[np.float64]:
        """Hit rates in percent, (len(iou), T)."""
        if not self.count:
            raise DataError("MaxBoxAcc has seen no image: update it with annotated images first")
        return 100 * self.hits / self.count

    def compute(self) -> dict[str, float | None]:
        """Percentages, and the first threshold that is best at IoU 50; None where 50 is not among the levels."""
        rates = self.rates
        v2 = float(rates.max(axis=1).mean())
        if 50 not in self.iou:
            return {"max_box_acc": None, "max_box_acc_v2": v2, "best_threshold": None}
        at_50 = rates[self.iou.index(50)]
        best = int(at_50.argmax())
        return {
            "max_box_acc": float(at_50[best]),
            "max_box_acc_v2": v2,
            "best_threshold": float(self.thresholds[best]),
        }
