"""What a few boxes bring: thresholds chosen on drawn images, and scores with intervals over draws and images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.evaluation.calibration import best_index, halfway_threshold
from cdtr.evaluation.evaluate import Progress
from cdtr.evaluation.forward import ImagePrediction
from cdtr.evaluation.measure import Annotate, box_ious, score_map, true_boxes
from cdtr.evaluation.protocols import Protocol
from cdtr.evaluation.tally import sweep_thresholds
from cdtr.metrics import localized
from cdtr.metrics.bootstrap import REPLICATES, Interval, image_weights, percentile_interval
from cdtr.parallel import map_in_order

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

DELTA = 0.01  # between thresholds of the sweep


@dataclass(frozen=True, slots=True)
class SweptImages:
    """Images with boxes, whose maps were cut at every threshold.

    Attributes:
        image_ids: Names of the N images.
        thresholds: (T,) map thresholds in [0, 1).
        ious: (N, T) IoU of the box found at each threshold with a true box.
        halfway: (N,) label-free threshold of each image's map.
    """

    image_ids: tuple[str, ...]
    thresholds: Float64Array
    ious: Float64Array
    halfway: Float64Array

    def take(self, rows: IntArray) -> SweptImages:
        """Return the images of some rows (n,), in their order."""
        return SweptImages(
            tuple(self.image_ids[row] for row in rows), self.thresholds, self.ious[rows], self.halfway[rows]
        )

    def choose(self) -> float:
        """Return the threshold that a calibration on these images chooses, see ``calibrate_predictions``."""
        return float(self.thresholds[best_index(self._rates(), DELTA)])

    def label_free(self) -> float:
        """Return the threshold that is chosen without boxes, rounded to the sweep."""
        return float(self.thresholds[self._index(float(self.halfway.mean()))])

    def hits(self, threshold: float) -> BoolArray:
        """Return which images (N,) are hit at IoU 0.5 at a threshold, rounded to the sweep."""
        found: BoolArray = localized(self.ious[:, self._index(threshold)])
        return found

    def best_rate(self) -> float:
        """Return MaxBoxAcc in percent: the hits at the threshold that is best on these very images."""
        return float(self._rates().max())

    def best_rate_interval(self) -> Interval | None:
        """Return the 95% bootstrap interval of MaxBoxAcc over the images."""
        weights = image_weights(list(self.image_ids)).T.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = (weights @ localized(self.ious)) / weights.sum(axis=1, keepdims=True)
        return percentile_interval(100 * rates.max(axis=1))

    def _rates(self) -> Float64Array:
        rates: Float64Array = 100 * localized(self.ious).mean(axis=0)
        return rates

    def _index(self, threshold: float) -> int:
        return int(np.abs(self.thresholds - threshold).argmin())


def sweep_images(
    found: Iterable[ImagePrediction], annotate: Annotate, protocol: Protocol, progress: Progress | None = None
) -> SweptImages:
    """Cut the map of each image at every threshold and compare the boxes with the true ones.

    Args:
        found: Predictions for images with boxes; those without a box are left out.
        annotate: Returns an image's annotation; called from several threads.
        protocol: How maps and true boxes are compared.
        progress: Called with 1 for each image.

    Raises:
        DataError: If no image has a box.
    """
    thresholds = sweep_thresholds(DELTA)

    def sweep(prediction: ImagePrediction) -> tuple[str, Float64Array | None, float]:
        boxes = true_boxes(prediction.sample, prediction.size_hw, annotate(prediction.sample), protocol)
        placed = score_map(prediction, protocol)
        ious = None if boxes is None else box_ious(placed, boxes, thresholds, protocol)
        return prediction.sample.image_id, ious, halfway_threshold(placed)

    rows: list[tuple[str, Float64Array, float]] = []
    for image_id, ious, halfway in map_in_order(sweep, found):
        if ious is not None:
            rows.append((image_id, ious, halfway))
        if progress is not None:
            progress(1)
    if not rows:
        raise DataError("no image has a box: expected images with boxes to draw from and to measure on")
    ids, every, middles = zip(*rows, strict=True)
    return SweptImages(tuple(ids), thresholds, np.stack(every), np.array(middles))


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """What a number of boxed images brings in one way of using them, over several draws of the images.

    Attributes:
        way: How the boxes are used: ``calibrate``, ``prior``, ``refine`` or ``detector``.
        order: Which images have boxes: ``random`` ones, or those that come first in a ``review`` list.
        images: Number of boxed images.
        draws: Number of draws.
        gt_known_loc: GT-known Loc on the measured images in percent, the mean over the draws.
        spread: Its standard deviation over the draws; None for a single draw.
        interval: Its 95% bootstrap interval over draws and images.
        gain: GT-known Loc less that without boxes: of the run at its label-free threshold for ``calibrate`` and
            ``detector``, of the recipe's own prior, of the second stage that learns from maps alone.
        gain_interval: The 95% bootstrap interval of the gain, over draws and images, paired by image.
        max_box_acc: At the threshold that is best on the measured images, in percent, which flatters; None without
            maps.
        threshold: Mean over the draws of the map threshold; None without maps.
        score_auroc: How well the scores of boxes, fitted on the same images, tell hits from misses, in percent: the
            mean over the draws in which they could be fitted; None where there are none.
        chosen: How many draws chose each prior; None for other ways.
    """

    way: str
    order: str
    images: int
    draws: int
    gt_known_loc: float
    spread: float | None
    interval: Interval
    gain: float
    gain_interval: Interval
    max_box_acc: float | None = None
    threshold: float | None = None
    score_auroc: float | None = None
    chosen: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def score_draws(
    way: str, order: str, images: int, hits: BoolArray, base: BoolArray, image_ids: Sequence[str]
) -> BudgetPoint:
    """Score a number of boxed images.

    Args:
        way: As in ``BudgetPoint``.
        order: As in ``BudgetPoint``.
        images: As in ``BudgetPoint``.
        hits: (D, N), whether each of the N measured images is hit in each of the D draws.
        base: (N,), the same without boxes.
        image_ids: Names of the N images.

    Returns:
        The point, without what only maps have.
    """
    rates = 100 * hits.mean(axis=1)
    of_draws = np.random.default_rng(0).multinomial(len(hits), np.full(len(hits), 1 / len(hits)), size=REPLICATES)
    of_images = image_weights(list(image_ids)).T.astype(np.float64)
    drawn = of_draws / len(hits) @ hits.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        levels, gains = (
            100 * (of_images * values).sum(axis=1) / of_images.sum(axis=1)
            for values in (drawn, drawn - base.astype(np.float64))
        )
    mean = float(rates.mean())
    return BudgetPoint(
        way=way,
        order=order,
        images=images,
        draws=len(hits),
        gt_known_loc=mean,
        spread=float(rates.std(ddof=1)) if len(hits) > 1 else None,
        interval=percentile_interval(levels) or (mean, mean),
        gain=mean - 100 * float(base.mean()),
        gain_interval=percentile_interval(gains) or (0.0, 0.0),
    )


def with_maps(point: BudgetPoint, max_box_acc: Sequence[float], thresholds: Sequence[float]) -> BudgetPoint:
    """Return a point with what maps have: values of each draw, of which the means are kept."""
    return replace(point, max_box_acc=float(np.mean(max_box_acc)), threshold=float(np.mean(thresholds)))
