"""What defines a metric: its key, title, unit and value. Results, tables, intervals and tests derive from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cdtr.metrics.outcomes import BoolArray, ImageRow, Outcomes, mean_over_classes

Float64Array = npt.NDArray[np.float64]

PERCENT = "percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Fields that every metric has.

    Attributes:
        key: Name in JSON and CSV files and in settings.
        title: Name in tables.
        order: Position in tables, ascending.
        column: Shorter title for narrow columns; empty to use ``title``.
        unit: Unit of the metric; ``"percent"`` for shares.
        needs_class: Whether the metric depends on the predicted class, and is unknown without class scores.
        optional: Whether tables leave it out where it has no value.
    """

    key: str
    title: str
    order: int
    column: str = ""
    unit: str = PERCENT
    needs_class: bool = False
    optional: bool = False

    @property
    def label(self) -> str:
        """The title, with the unit unless it is percent, which the tables say in their heading."""
        return self.title if self.unit == PERCENT else f"{self.title} ({self.unit})"

    @property
    def short_label(self) -> str:
        """The title for narrow columns."""
        return self.column or self.label


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetric(Metric):
    """A metric with a value for each image, summarised over the images.

    Attributes:
        value: Maps n outcomes to n values: booleans for hits, else floats, in [0, 1] if the unit is percent.
        summary: How values become one number; ``class_mean`` is the mean over classes of the mean over their images.
        needs_box: Whether only images with true boxes and a map threshold have a value.
        chosen_by: Key of the metric that selects the centred box (trivial baselines) or the map threshold (oracle)
            under which this one is reported; None to leave it out there.
        compared: Whether two runs are compared by it; means only.
    """

    value: Callable[[Outcomes], npt.NDArray[Any]]
    summary: Literal["mean", "median", "class_mean"] = "mean"
    needs_box: bool = True
    chosen_by: str | None = None
    compared: bool = True

    @property
    def scale(self) -> float:
        """Factor from values of images to the metric's unit."""
        return 100 if self.unit == PERCENT else 1

    def rows_with_value(self, rows: Iterable[ImageRow]) -> list[ImageRow]:
        """Keep the images that have a value."""
        return [row for row in rows if row.iou_label is not None or not self.needs_box]

    def compute(self, rows: Iterable[ImageRow]) -> float | None:
        """Summarise the metric over images.

        Args:
            rows: Images, with or without boxes.

        Returns:
            The summary in the metric's unit; None if no image has a value.
        """
        known = self.rows_with_value(rows)
        if not known:
            return None
        values = self.value(Outcomes.of_rows(known))
        if self.summary == "class_mean":
            _, classes = np.unique([row.label for row in known], return_inverse=True)
            return self.scale * float(mean_over_classes(np.bincount(classes, values), np.bincount(classes)))
        return self.scale * float(np.median(values) if self.summary == "median" else values.mean())


@dataclass(frozen=True, slots=True)
class SweepCounts:
    """Sums over images for each of R weightings of the images.

    R is 1 for the data set itself, and the number of replicates for a bootstrap interval.

    Attributes:
        levels: The L IoU levels of the hits, in percent.
        images: (R,) number of images with boxes.
        largest: (R, L, T) hits of the largest contour's box at each of T map thresholds.
        all_contours: (R, L, T) hits of the best of all contours' boxes.
        pixels: (R, 2, bins) scores of object and background pixels in bins of ascending score.
    """

    levels: tuple[int, ...]
    images: Float64Array
    largest: Float64Array
    all_contours: Float64Array
    pixels: Float64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepMetric(Metric):
    """A metric of a whole data set, computed from sums over its images at every map threshold.

    Attributes:
        of_counts: Maps the sums of R weightings to (R,) values in the metric's unit; NaN where it is not defined.
    """

    of_counts: Callable[[SweepCounts], Float64Array]

    def compute(self, counts: SweepCounts) -> float | None:
        """Compute the metric of a data set.

        Args:
            counts: Sums with R = 1.

        Returns:
            The metric in its unit; None if it is not defined.
        """
        (value,) = self.of_counts(counts).tolist()
        return None if np.isnan(value) else float(value)


@dataclass(frozen=True, slots=True)
class Presences:
    """Which of n images have an object and which get a box, where some classes are without an object.

    Attributes:
        prob: (n,) predicted probability of an object, in [0, 1].
        boxed: (n,) whether the image gets a box.
        true: (n,) whether the image has an object.
    """

    prob: Float64Array
    boxed: BoolArray
    true: BoolArray

    @classmethod
    def of_rows(cls, rows: Iterable[ImageRow]) -> Presences:
        """Collect those of the images that have a ``presence``, in their order."""
        known = [row.presence for row in rows if row.presence is not None]
        return cls(
            prob=np.array([one.prob for one in known], dtype=np.float64),
            boxed=np.array([one.boxed for one in known], dtype=bool),
            true=np.array([one.true for one in known], dtype=bool),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceMetric(Metric):
    """A metric of whether images have an object, computed over all images, with and without one.

    Attributes:
        of_images: Maps n images and R weightings of them, (R, n), to (R,) values in the metric's unit; NaN where it is
            not defined.
    """

    of_images: Callable[[Presences, Float64Array], Float64Array]

    def compute(self, rows: Iterable[ImageRow]) -> float | None:
        """Compute the metric of a data set.

        Args:
            rows: Images.

        Returns:
            The metric in its unit; None if it is not defined, as where every class has an object.
        """
        found = Presences.of_rows(rows)
        (value,) = self.of_images(found, np.ones((1, len(found.prob)))).tolist()
        return None if np.isnan(value) else float(value)
