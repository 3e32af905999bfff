"""95% bootstrap intervals over images of every metric of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from cdtr.metrics import (
    ImageMetric,
    ImageRow,
    Outcomes,
    Presences,
    SweepCounts,
    image_metrics,
    presence_metrics,
    sweep_metrics,
)
from cdtr.metrics.bootstrap import BootstrapSum, Interval, image_weights, percentile_interval
from cdtr.metrics.max_box_acc import box_hits
from cdtr.metrics.outcomes import mean_over_classes

_REPLICATES_AT_A_TIME = 50  # of all images, as floats
_BINS = 1000  # of the histogram from which the interval of a median is read

Intervals = dict[str, Interval | None]


class IntervalTally:
    """Bootstrap sums of the map threshold sweeps; memory does not grow with the number of images.

    Args:
        iou: The L IoU levels of the sweep, in percent.
        n_thresholds: Number T of map thresholds.
        n_bins: Number of bins of PxAP's histograms.
    """

    def __init__(self, iou: tuple[int, ...], n_thresholds: int, n_bins: int) -> None:
        self._iou = iou
        self._hits_shape = (2, len(iou), n_thresholds)
        self._boxes = BootstrapSum(2 * len(iou) * n_thresholds)
        self._pixels = BootstrapSum(2 * n_bins)

    def update_ious(self, image_id: str, single: npt.NDArray[np.float64], multi: npt.NDArray[np.float64]) -> None:
        """Count the boxes of one image.

        Args:
            image_id: Name of the image.
            single: (T,) IoU of the largest contour's box at each map threshold.
            multi: (T,) largest IoU of all contours' boxes.
        """
        self._boxes.update(image_id, [box_hits(best_iou, self._iou) for best_iou in (single, multi)])

    def update_histograms(self, image_id: str, histograms: npt.NDArray[np.int64]) -> None:
        """Count the pixels of one image by its (2, bins) histograms of object and background scores."""
        self._pixels.update(image_id, histograms)

    def merge(self, other: IntervalTally) -> None:
        """Add the sums of another part of the data set."""
        self._boxes.merge(other._boxes)
        self._pixels.merge(other._pixels)

    def compute(self, rows: Iterable[ImageRow]) -> Intervals:
        """Compute the intervals.

        Args:
            rows: All images of the evaluation.

        Returns:
            Lower and upper end in the metric's unit, by key; None if no image has a value.
        """
        hits = self._boxes.sums.reshape(-1, *self._hits_shape)
        counts = SweepCounts(
            levels=self._iou,
            images=self._boxes.counts,
            largest=hits[:, 0],
            all_contours=hits[:, 1],
            pixels=self._pixels.sums.reshape(len(hits), 2, -1),
        )
        swept = {metric.key: percentile_interval(metric.of_counts(counts)) for metric in sweep_metrics()}
        listed = list(rows)
        return swept | _row_intervals(listed) | _presence_intervals(listed)


def _row_intervals(rows: Iterable[ImageRow]) -> Intervals:
    """The intervals of the metrics that have a value for each image."""
    ordered = sorted(rows, key=lambda row: row.image_id)  # float32 sums round alike in any order of the images
    found: Intervals = {}
    for needs_box in (False, True):
        metrics = [metric for metric in image_metrics() if metric.needs_box == needs_box]
        known = metrics[0].rows_with_value(ordered) if metrics else []
        ids, outcomes = [row.image_id for row in known], Outcomes.of_rows(known)
        averaged = [metric for metric in metrics if metric.summary == "mean"]
        found |= _mean_intervals(averaged, ids, outcomes)
        found |= {
            metric.key: _median_interval(metric, ids, outcomes) for metric in metrics if metric.summary == "median"
        }
        labels = [row.label for row in known]
        found |= {
            metric.key: _class_mean_interval(metric, ids, labels, outcomes)
            for metric in metrics
            if metric.summary == "class_mean"
        }
    return found


def _presence_intervals(rows: Sequence[ImageRow]) -> Intervals:
    """The intervals of the metrics of whether images have an object; None where every class has one."""
    known = [row for row in rows if row.presence is not None]
    metrics = presence_metrics()
    if not known:
        return dict.fromkeys(metric.key for metric in metrics)
    found, weights = Presences.of_rows(known), image_weights([row.image_id for row in known]).T
    parts = np.array_split(weights, len(weights) // _REPLICATES_AT_A_TIME + 1)
    return {
        metric.key: percentile_interval(
            np.concatenate([metric.of_images(found, part.astype(np.float64)) for part in parts])
        )
        for metric in metrics
    }


def _mean_intervals(metrics: Sequence[ImageMetric], ids: Sequence[str], outcomes: Outcomes) -> Intervals:
    sums = BootstrapSum(len(metrics))
    columns = [metric.value(outcomes) for metric in metrics]
    for image_id, *values in zip(ids, *columns, strict=True):
        sums.update(image_id, values)
    return {metric.key: percentile_interval(metric.scale * sums.means[:, i]) for i, metric in enumerate(metrics)}


def _median_interval(metric: ImageMetric, ids: Sequence[str], outcomes: Outcomes) -> Interval | None:
    """Read the medians of the replicates from a histogram of the values, which lie in [0, 1]."""
    bins = BootstrapSum(_BINS)
    values = np.asarray(metric.value(outcomes), dtype=np.float64)
    indices = np.minimum((values * _BINS).astype(int), _BINS - 1)
    for image_id, index in zip(ids, indices, strict=True):
        one_hot = np.zeros(_BINS, dtype=np.float32)
        one_hot[index] = 1
        bins.update(image_id, one_hot)
    # The mean of a bin's values, not its centre, which may be the value of no image.
    sizes, sums = np.bincount(indices, minlength=_BINS), np.bincount(indices, values, minlength=_BINS)
    means = metric.scale * sums / np.maximum(sizes, 1)
    shares = bins.means.cumsum(axis=1)
    medians = means[(shares >= 0.5 - 1e-9).argmax(axis=1)]
    return percentile_interval(np.where(np.isnan(shares[:, -1]), np.nan, medians))


def _class_mean_interval(
    metric: ImageMetric, ids: Sequence[str], labels: Sequence[int], outcomes: Outcomes
) -> Interval | None:
    """A class without an image in a replicate does not count in it."""
    if not ids:
        return None
    values = np.asarray(metric.value(outcomes), dtype=np.float64)
    of_class: dict[int, BootstrapSum] = {}
    for image_id, label, value in zip(ids, labels, values, strict=True):
        of_class.setdefault(label, BootstrapSum(1)).update(image_id, [value])
    sums = np.stack([found.sums[:, 0] for found in of_class.values()], axis=1)
    counts = np.stack([found.counts for found in of_class.values()], axis=1)
    means = mean_over_classes(sums, counts)
    return percentile_interval(metric.scale * means)
