"""What an evaluation says, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.metrics.attention import AttentionOnObject
from cdtr.metrics.loc_accuracy import ImageRow, iou_percentiles
from cdtr.metrics.selective import Selective
from cdtr.threshold import Threshold

METRICS = (
    "top1_loc",
    "top5_loc",
    "gt_known_loc",
    "top1_cls",
    "top5_cls",
    "max_box_acc",
    "max_box_acc_v2",
    "pxap",
    "mean_iou",
    "median_iou",
    "gt_known_loc_iou70",
)


@dataclass(frozen=True, slots=True)
class Curves:
    """What was swept: hits in percent, (len(iou), T), of the largest contour and of all; precision and recall of PxAP.

    thresholds: (T,). iou: levels in percent. precision, recall: in [0, 1], from the highest score on, None without
    masks.
    """

    thresholds: npt.NDArray[np.float64]
    iou: tuple[int, ...]
    single: npt.NDArray[np.float64]
    multi: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64] | None = None
    recall: npt.NDArray[np.float64] | None = None

    def to_json(self) -> dict[str, Any]:
        by_level = {"largest_contour": self.single, "all_contours": self.multi}
        return {
            "thresholds": [round(float(value), 10) for value in self.thresholds],
            **{
                name: {str(level): rate.tolist() for level, rate in zip(self.iou, rates, strict=True)}
                for name, rates in by_level.items()
            },
            "precision": None if self.precision is None else self.precision.tolist(),
            "recall": None if self.recall is None else self.recall.tolist(),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics in percent, None where the data has no such annotation or no threshold was given.

    n_annotated: images with at least one box, over which localization is measured; classification is measured over all
    n_images. map_threshold: the threshold in use and where it is from, None where there is none. intervals: 95% over
    images, by the names of the metrics.
    baselines: ``full_image``, ``centre_box``, ``centre_box_per_class``. oracle: the threshold that is best on
    the evaluated images and its scores. per_class: label -> accuracies. errors:
    what is wrong with the boxes, by kind. box_scores: how good the scores of the predicted classes' boxes are,
    None where they have none. attention: whether it lies on the object, None where it is not known. view: what the
    network saw of each image. rows: one an image, for tables. recipe: the label of the run's recipe, None for maps that
    are of no run.
    """

    protocol: str
    n_images: int
    n_annotated: int
    map_threshold: Threshold | None
    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float] | None]
    baselines: Mapping[str, Mapping[str, Any] | None]
    oracle: Mapping[str, Any] | None
    per_class: Mapping[int, Mapping[str, float | None]]
    errors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: Curves | None = None
    box_scores: Selective | None = None
    attention: AttentionOnObject | None = None
    notes: tuple[str, ...] = ()
    view: str = "whole"
    rows: tuple[ImageRow, ...] = field(default=(), repr=False)
    recipe: str | None = None

    @property
    def threshold(self) -> float | None:
        """The map threshold in use, in [0, 1)."""
        return None if self.map_threshold is None else self.map_threshold.value

    @property
    def threshold_source(self) -> str | None:
        """Where the map threshold is from, in words."""
        return None if self.map_threshold is None else str(self.map_threshold)

    def to_json(self, class_names: Sequence[str] = ()) -> dict[str, Any]:
        """A tree of plain values; classes go by name where names are given, else by index."""
        counts: dict[int, int] = {}
        for row in self.rows:
            counts[row.label] = counts.get(row.label, 0) + 1
        return {
            "protocol": self.protocol,
            "view": self.view,
            "recipe": self.recipe,
            "n_images": self.n_images,
            "n_annotated": self.n_annotated,
            "threshold": self.threshold,
            "threshold_source": self.threshold_source,
            "metrics": {name: self.metrics[name] for name in METRICS},
            "intervals": {name: list(found) if (found := self.intervals.get(name)) else None for name in METRICS},
            "baselines": {name: dict(scores) if scores else None for name, scores in self.baselines.items()},
            "oracle": dict(self.oracle) if self.oracle else None,
            "per_class": {
                class_names[label] if class_names else str(label): {"n_images": counts.get(label, 0), **accuracies}
                for label, accuracies in self.per_class.items()
            },
            "errors": {kind: dict(found) for kind, found in self.errors.items()},
            "box_scores": self.box_scores.to_json() if self.box_scores else None,
            "attention": self.attention.to_json() if self.attention else None,
            "iou_percentiles": iou_percentiles(self.rows),
            "curves": self.curves.to_json() if self.curves else None,
            "notes": list(self.notes),
        }
