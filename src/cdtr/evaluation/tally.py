"""Running totals of an evaluation; those of two parts of a data set can be merged."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import ConfigError, DataError
from cdtr.evaluation.intervals import IntervalTally
from cdtr.evaluation.measure import Measures
from cdtr.evaluation.protocols import Protocol
from cdtr.evaluation.result import Curves, Evaluation
from cdtr.localization.quality import BoxQuality
from cdtr.metrics import (
    CentredBoxes,
    ImageMetric,
    LocAccuracy,
    MaxBoxAcc,
    Outcomes,
    PxAP,
    SweepCounts,
    image_metrics,
    localized,
    presence_metrics,
    sweep_metrics,
)
from cdtr.metrics.attention import summarise_attention
from cdtr.metrics.baselines import CENTRE_BOX, FULL_IMAGE, LARGEST_CLASS, largest_class
from cdtr.metrics.loc_errors import summarise_errors
from cdtr.metrics.pxap import precision_recall
from cdtr.metrics.selective import Selective, measure_scores
from cdtr.threshold import Threshold

_CALIBRATE = (
    "no threshold was given: Top-1, Top-5, GT-known Loc and the IoUs need one, run `cdtr calibrate` on images that are "
    "not the test set, with `label_free=True` where there are no boxes; the oracle's was chosen on the evaluated images"
)
_UNANNOTATED = "no image has a box: only classification was measured"
_SELECTING_METRIC = "gt_known_loc"  # the oracle's threshold is the best by this metric

DELTA = 0.001  # step of the benchmark's 1,000 thresholds


def sweep_thresholds(delta: float) -> npt.NDArray[np.float64]:
    """List the map thresholds of a sweep.

    Args:
        delta: Step, above 0 and at most 0.5.

    Returns:
        ``arange(0, 1, delta)``, as the benchmark sweeps them.

    Raises:
        ConfigError: For another step.
    """
    if not 0 < delta <= 0.5:
        raise ConfigError(f"delta {delta}: expected a step between map thresholds from above 0 to 0.5, such as 0.01")
    return np.arange(0, 1, delta)


class Tally:
    """Running totals of every metric of an evaluation. Memory grows by one small row for each image.

    Args:
        protocol: How maps and true boxes are compared.
        threshold: The map threshold in use, from 0 to below 1; a bare number is one that was given, None if there is
            none yet.
        delta: Step of the thresholds that MaxBoxAcc and PxAP sweep.
        quality: Scores the predicted class's box without ground truth; None to leave the scores out.

    Attributes:
        thresholds: (T,) map thresholds of the sweep.
        single: Hits of the largest contour's box at each threshold.
        multi: Hits of the best of all contours' boxes.
        accuracy: Metrics with a value for each image, and the images' rows.
        pxap: Scores of pixels against masks.

    Raises:
        ConfigError: For a threshold or step out of range.
    """

    def __init__(
        self,
        protocol: Protocol,
        threshold: Threshold | float | None,
        delta: float = DELTA,
        quality: BoxQuality | None = None,
    ) -> None:
        self.map_threshold = Threshold.of(threshold)
        self.threshold = None if self.map_threshold is None else self.map_threshold.value
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise ConfigError(f"map threshold {self.threshold}: expected a number from 0 up to 1, or None")
        self.protocol = protocol
        self.quality = quality
        self.thresholds = sweep_thresholds(delta)
        self.accuracy = LocAccuracy()
        self.single = MaxBoxAcc(self.thresholds, protocol.max_box_iou)
        self.multi = MaxBoxAcc(self.thresholds, protocol.max_box_iou, multi_contour=True)
        self.pxap = PxAP(self.thresholds)
        self.intervals = IntervalTally(protocol.max_box_iou, len(self.thresholds), len(self.pxap.edges) - 1)
        self.baselines = CentredBoxes(protocol.frame_hw, protocol.boxes)
        self._oracle_hits = {metric.key: np.zeros(len(self.thresholds), dtype=np.int64) for metric in _oracle_metrics()}

    def add(self, measures: Measures) -> None:
        """Count one image; one that was counted before is left out."""
        row = measures.row
        if row.image_id in self.accuracy:
            return
        self.accuracy.update(row)
        if measures.histograms is not None:
            self.pxap.update_histograms(measures.histograms)
            self.intervals.update_histograms(row.image_id, measures.histograms)
        if measures.gt_boxes is None:
            return
        correct = row.predicted == row.label
        self.baselines.update(measures.gt_boxes, row.label, correct, row.in_top5)
        if measures.single is None or measures.multi is None:  # boxes that came without a map
            return
        self.single.update_ious(measures.single)
        self.multi.update_ious(measures.multi)
        self.intervals.update_ious(row.image_id, measures.single, measures.multi)
        outcomes = Outcomes(measures.single, correct, row.in_top5)
        for metric in _oracle_metrics():
            self._oracle_hits[metric.key] += metric.value(outcomes)

    def merge(self, other: Tally) -> None:
        """Add the totals of another part of the data set.

        Raises:
            DataError: For another protocol or threshold, and for an image in both parts, whose counts would double.
        """
        if (self.protocol, self.threshold) != (other.protocol, other.threshold):
            raise DataError("cannot merge evaluations of different protocols or thresholds")
        twice = [row.image_id for row in other.accuracy.rows if row.image_id in self.accuracy]
        if twice:
            raise DataError(
                f"{len(twice)} images are in both parts, such as {twice[0]}: split the data without overlap"
            )
        self.single.merge(other.single)
        self.multi.merge(other.multi)
        self.pxap.merge(other.pxap)
        self.intervals.merge(other.intervals)
        self.baselines.merge(other.baselines)
        self.accuracy.merge(other.accuracy)
        for key, hits in other._oracle_hits.items():
            self._oracle_hits[key] += hits

    def finish(self) -> Evaluation:
        """Compute the metrics of everything counted so far.

        Returns:
            The evaluation.

        Raises:
            DataError: If no image was counted, or no mask has an object pixel.
        """
        annotated, swept = self.baselines.count > 0, self.single.count > 0
        notes = [] if annotated else [_UNANNOTATED]
        if swept and self.threshold is None:
            notes.append(_CALIBRATE)
        return Evaluation(
            protocol=self.protocol.name,
            n_images=self.accuracy.count,
            n_annotated=self.baselines.count,
            map_threshold=self.map_threshold,
            metrics={**self.accuracy.compute(), **self._sweeps(), **self._presence()},
            intervals=self.intervals.compute(self.accuracy.rows),
            baselines={
                **(self.baselines.compute() if annotated else dict.fromkeys((FULL_IMAGE, CENTRE_BOX))),
                LARGEST_CLASS: largest_class(self.accuracy.rows),
            },
            oracle=self._oracle() if swept else None,
            per_class=dict(self.accuracy.compute_per_class()),
            curves=self._curves() if swept else None,
            box_scores=self._box_scores(),
            attention=summarise_attention(self.accuracy.rows),
            errors=summarise_errors(self.accuracy.rows),
            notes=tuple(notes),
            rows=self.accuracy.rows,
        )

    def _sweeps(self) -> dict[str, float | None]:
        if self.pxap.count:
            self.pxap.compute()  # refuses masks without an object
        counts = SweepCounts(
            levels=self.single.iou,
            images=np.array([self.single.count], dtype=np.float64),
            largest=self.single.hits[None].astype(np.float64),
            all_contours=self.multi.hits[None].astype(np.float64),
            pixels=self.pxap.histograms[None].astype(np.float64),
        )
        return {metric.key: metric.compute(counts) for metric in sweep_metrics()}

    def _presence(self) -> dict[str, float | None]:
        return {metric.key: metric.compute(self.accuracy.rows) for metric in presence_metrics()}

    def _box_scores(self) -> Selective | None:
        pairs = [
            (row.score, bool(localized(row.iou_predicted)))
            for row in self.accuracy.rows
            if row.score is not None and row.iou_predicted is not None
        ]
        return measure_scores(*zip(*pairs, strict=True)) if pairs else None

    def _curves(self) -> Curves:
        precision, recall = precision_recall(self.pxap.histograms) if self.pxap.count else (None, None)
        return Curves(
            thresholds=self.thresholds,
            iou=self.single.iou,
            single=self.single.rates,
            multi=self.multi.rates,
            precision=precision,
            recall=recall,
        )

    def _oracle(self) -> dict[str, Any]:
        """Scores at the threshold that is the best on the very images that it is scored on."""
        best = int(self._oracle_hits[_SELECTING_METRIC].argmax())
        return {
            "threshold": float(self.thresholds[best]),
            "chosen_on": "the evaluated images: not a fair score, for comparison with published numbers only",
            **{key: 100 * int(hits[best]) / self.single.count for key, hits in self._oracle_hits.items()},
        }


def _oracle_metrics() -> tuple[ImageMetric, ...]:
    return tuple(metric for metric in image_metrics() if metric.chosen_by == _SELECTING_METRIC)
