"""95% bootstrap intervals over images of every figure of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cdtr.metrics import LOC_IOU, ImageRow, average_precisions
from cdtr.metrics.bootstrap import BootstrapSum, Interval, percentile_interval
from cdtr.metrics.loc_accuracy import STRICT_LOC_IOU
from cdtr.metrics.max_box_acc import box_hits

_IOU_BINS = 1000  # the median's interval is read from a histogram of so many bins

Intervals = dict[str, Interval | None]


class IntervalTally:
    """What the intervals of the sweeps need, in memory that does not grow with the images.

    iou: the levels of MaxBoxAccV2 in percent. n_thresholds, n_bins: of the sweep and of PxAP's histograms.
    """

    def __init__(self, iou: tuple[int, ...], n_thresholds: int, n_bins: int) -> None:
        self._iou = iou
        self._shape = (2, len(iou), n_thresholds)
        self._boxes = BootstrapSum(2 * len(iou) * n_thresholds)
        self._pixels = BootstrapSum(2 * n_bins)

    def add_boxes(self, image_id: str, single: npt.NDArray[np.float64], multi: npt.NDArray[np.float64]) -> None:
        """Count one image by its best IoU (T,) at each threshold, for the largest contour and for all."""
        self._boxes.add(image_id, [box_hits(best_iou, self._iou) for best_iou in (single, multi)])

    def add_pixels(self, image_id: str, histograms: npt.NDArray[np.int64]) -> None:
        """Count one image by its histograms (2, bins) of object and background scores."""
        self._pixels.add(image_id, histograms)

    def merge(self, other: IntervalTally) -> None:
        self._boxes.merge(other._boxes)
        self._pixels.merge(other._pixels)

    def compute(self, rows: Iterable[ImageRow]) -> Intervals:
        """In percent, by the names of the metrics; None where there is no such annotation."""
        best = 100 * self._boxes.means.reshape(-1, *self._shape).max(axis=3)  # (B, 2, levels)
        histograms = self._pixels.sums.reshape(len(best), 2, -1)
        found: Intervals = {"max_box_acc": None, "max_box_acc_v2": percentile_interval(best[:, 1].mean(axis=1))}
        if round(100 * LOC_IOU) in self._iou:
            found["max_box_acc"] = percentile_interval(best[:, 0, self._iou.index(round(100 * LOC_IOU))])
        found["pxap"] = percentile_interval(average_precisions(histograms))
        return found | _of_rows(rows)


def _of_rows(rows: Iterable[ImageRow]) -> Intervals:
    classified, located, overlaps = BootstrapSum(2), BootstrapSum(5), BootstrapSum(_IOU_BINS)
    bin_counts, bin_sums = np.zeros(_IOU_BINS), np.zeros(_IOU_BINS)
    for row in sorted(rows, key=lambda row: row.image_id):  # sums of IoUs round alike in any order of the images
        right = row.predicted == row.label
        classified.add(row.image_id, [right, row.in_top5])
        if row.iou_label is None:
            continue
        hit, strict = row.iou_label >= LOC_IOU, row.iou_label >= STRICT_LOC_IOU
        located.add(row.image_id, [hit and right, hit and row.in_top5, hit, strict, row.iou_label])
        one_hot = np.zeros(_IOU_BINS, dtype=np.float32)
        at = min(int(row.iou_label * _IOU_BINS), _IOU_BINS - 1)
        one_hot[at] = 1
        overlaps.add(row.image_id, one_hot)
        bin_counts[at] += 1
        bin_sums[at] += row.iou_label
    found: Intervals = {}
    names = ("top1_loc", "top5_loc", "gt_known_loc", "gt_known_loc_iou70", "mean_iou")
    for group, sums in ((("top1_cls", "top5_cls"), classified), (names, located)):
        found |= {name: percentile_interval(100 * sums.means[:, index]) for index, name in enumerate(group)}
    shares = overlaps.means.cumsum(axis=1)
    means = 100 * bin_sums / np.maximum(bin_counts, 1)  # a bin's centre may be the IoU of none of its images
    medians = means[(shares >= 0.5 - 1e-9).argmax(axis=1)]
    found["median_iou"] = percentile_interval(np.where(np.isnan(shares[:, -1]), np.nan, medians))
    return found
