"""The result of an evaluation, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.metrics import ImageRow, all_metrics
from cdtr.metrics.attention import AttentionOnObject
from cdtr.metrics.loc_accuracy import iou_percentiles
from cdtr.metrics.selective import Selective
from cdtr.threshold import Threshold


@dataclass(frozen=True, slots=True)
class Curves:
    """Results of the sweep over map thresholds.

    Attributes:
        thresholds: (T,) map thresholds.
        iou: The L IoU levels, in percent.
        single: (L, T) hits of the largest contour's box, in percent.
        multi: (L, T) hits of the best of all contours' boxes, in percent.
        precision: (bins,) in [0, 1], from the highest score to the lowest; None without masks.
        recall: (bins,) like ``precision``.
    """

    thresholds: npt.NDArray[np.float64]
    iou: tuple[int, ...]
    single: npt.NDArray[np.float64]
    multi: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64] | None = None
    recall: npt.NDArray[np.float64] | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
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
    """Results of an evaluation. A metric is None if the data has no such annotation or no threshold was given.

    Attributes:
        protocol: Name of the protocol.
        n_images: Number of images, over which classification is measured.
        n_annotated: Number of images with at least one box, over which localization is measured.
        map_threshold: The threshold in use and where it is from; None if there is none.
        metrics: Value of each metric by its key, in percent unless the metric says otherwise.
        intervals: 95% bootstrap interval over images of each metric, by its key.
        baselines: Metrics of ``full_image``, ``centre_box``, ``centre_box_per_class`` and ``largest_class``.
        oracle: The threshold that is best on the evaluated images, and its scores.
        per_class: Metrics with a value for each image, by label.
        errors: Count, percent and examples of each kind of error; see ``cdtr.metrics.loc_errors``.
        curves: Results at every map threshold; None without boxes.
        box_scores: Quality of the scores of the predicted classes' boxes; None if they have none.
        attention: Attention inside and outside the true boxes; None if unknown.
        notes: Warnings for the reader.
        view: Part of each image that the network sees.
        rows: One for each image, for tables.
        recipe: Label of the run's recipe; None for maps that belong to no run.
        n_left_out: Number of images that could not be read; they are in no count.
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
    n_left_out: int = 0

    @property
    def threshold(self) -> float | None:
        """The map threshold in use, in [0, 1)."""
        return None if self.map_threshold is None else self.map_threshold.value

    @property
    def threshold_source(self) -> str | None:
        """Where the map threshold is from, in words."""
        return None if self.map_threshold is None else str(self.map_threshold)

    def to_json(self, class_names: Sequence[str] = ()) -> dict[str, Any]:
        """Convert to a tree of plain values, as `cdtr evaluate --json` writes it.

        Args:
            class_names: Names of the classes by index; empty to name them by their index.
        """
        keys = [metric.key for metric in all_metrics()]
        counts: dict[int, int] = {}
        for row in self.rows:
            counts[row.label] = counts.get(row.label, 0) + 1
        return {
            "protocol": self.protocol,
            "view": self.view,
            "recipe": self.recipe,
            "n_images": self.n_images,
            "n_annotated": self.n_annotated,
            "n_left_out": self.n_left_out,
            "threshold": self.threshold,
            "threshold_source": self.threshold_source,
            "metrics": {key: self.metrics[key] for key in keys},
            "intervals": {key: list(found) if (found := self.intervals.get(key)) else None for key in keys},
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
