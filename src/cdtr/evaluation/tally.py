"""The running totals of an evaluation; those of two parts of a data set can be merged."""

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
from cdtr.metrics import LOC_IOU, CentredBoxes, LocAccuracy, MaxBoxAcc, PxAP
from cdtr.metrics.attention import summarise_attention
from cdtr.metrics.errors import summarise_errors
from cdtr.metrics.pxap import precision_recall
from cdtr.metrics.selective import Selective, measure_scores
from cdtr.threshold import Threshold

_CALIBRATE = (
    "no threshold was given: Top-1, Top-5, GT-known Loc and the IoUs need one, run `cdtr calibrate` on images that are "
    "not the test set; the oracle's was chosen on the evaluated images"
)
_UNANNOTATED = "no image has a box: only classification was measured"


DELTA = 0.001  # the step of the benchmark's 1,000 thresholds


def sweep_thresholds(delta: float) -> npt.NDArray[np.float64]:
    """``arange(0, 1, delta)``, as the benchmark sweeps them."""
    if not 0 < delta <= 0.5:
        raise ConfigError(f"delta {delta}: expected a step between map thresholds from above 0 to 0.5, such as 0.01")
    return np.arange(0, 1, delta)


class Tally:
    """Every metric of one evaluation. Memory grows by one small row an image.

    threshold: of the maps; a bare number is one that was given. quality: what scores the boxes without ground truth, if
    they are to be measured against it.
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
        # Hits at LOC_IOU of images whose label is predicted, and is among the five best, at each threshold.
        self.class_hits: npt.NDArray[np.int64] = np.zeros((2, len(self.thresholds)), dtype=np.int64)

    def add(self, measures: Measures) -> None:
        """Count one image; one that was counted before is left out."""
        row = measures.row
        if row.image_id in self.accuracy:
            return
        self.accuracy.update(row)
        if measures.histograms is not None:
            self.pxap.add(measures.histograms)
            self.intervals.add_pixels(row.image_id, measures.histograms)
        if measures.gt_boxes is None:
            return
        right = row.predicted == row.label
        self.baselines.update(measures.gt_boxes, row.label, right, row.in_top5)
        if measures.single is None or measures.multi is None:  # boxes that came without a map
            return
        self.single.add(measures.single)
        self.multi.add(measures.multi)
        self.intervals.add_boxes(row.image_id, measures.single, measures.multi)
        self.class_hits += (measures.single >= LOC_IOU) & np.array([[right], [row.in_top5]])

    def merge(self, other: Tally) -> None:
        """Add the totals of another part of the data set; an image in both is an error, its counts would double."""
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
        self.class_hits += other.class_hits

    def finish(self) -> Evaluation:
        """The metrics of everything counted so far."""
        metrics = self.accuracy.compute()
        annotated, swept = self.baselines.count > 0, self.single.count > 0
        metrics["max_box_acc"] = self.single.compute()["max_box_acc"] if swept else None
        metrics["max_box_acc_v2"] = self.multi.compute()["max_box_acc_v2"] if swept else None
        metrics["pxap"] = self.pxap.compute() if self.pxap.count else None
        notes = [] if annotated else [_UNANNOTATED]
        if swept and self.threshold is None:
            notes.append(_CALIBRATE)
        return Evaluation(
            protocol=self.protocol.name,
            n_images=self.accuracy.count,
            n_annotated=self.baselines.count,
            map_threshold=self.map_threshold,
            metrics=metrics,
            intervals=self.intervals.compute(self.accuracy.rows),
            baselines=self.baselines.compute() if annotated else dict.fromkeys(("full_image", "centre_box")),
            oracle=self._oracle() if swept else None,
            per_class=dict(self.accuracy.compute_per_class()),
            curves=self._curves() if swept else None,
            box_scores=self._box_scores(),
            attention=summarise_attention(self.accuracy.rows),
            errors=summarise_errors(self.accuracy.rows),
            notes=tuple(notes),
            rows=self.accuracy.rows,
        )

    def _box_scores(self) -> Selective | None:
        pairs = [
            (row.score, row.iou_predicted >= LOC_IOU)
            for row in self.accuracy.rows
            if row.score is not None and row.iou_predicted is not None
        ]
        return measure_scores(*zip(*pairs, strict=True)) if pairs else None

    def _curves(self) -> Curves:
        precision, recall = precision_recall(self.pxap.histograms) if self.pxap.count else (None, None)
        swept = self.single.rates, self.multi.rates
        return Curves(self.thresholds, self.single.iou, *swept, precision=precision, recall=recall)

    def _oracle(self) -> dict[str, Any]:
        """What the threshold would score that is the best on the very images it is scored on."""
        at_50 = self.single.rates[self.single.iou.index(round(100 * LOC_IOU))]
        best = int(at_50.argmax())
        top1, top5 = (100 * int(hits) / self.single.count for hits in self.class_hits[:, best])
        return {
            "threshold": float(self.thresholds[best]),
            "chosen_on": "the evaluated images: not a fair score, for comparison with published numbers only",
            "gt_known_loc": float(at_50[best]),
            "top1_loc": top1,
            "top5_loc": top5,
        }
