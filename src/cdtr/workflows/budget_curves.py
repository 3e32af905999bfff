"""What boxes bring to a run as it is: a threshold, and an order in which to review more images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from cdtr.api import as_seen, choose_view, empty_classes, find_device, load_model
from cdtr.data.loader import eval_loader
from cdtr.data.pixels import View
from cdtr.errors import DataError
from cdtr.evaluation import Protocol, find_protocol
from cdtr.evaluation.box_scores import DescribedBox, describe_box, fit_described
from cdtr.evaluation.few_boxes import BoolArray, BudgetPoint, SweptImages, score_draws, sweep_images, with_maps
from cdtr.evaluation.forward import ImagePrediction, predict
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import MIN_IMAGES, BoxQuality
from cdtr.metrics.presence import weighted_auroc
from cdtr.parallel import map_in_order
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder
from cdtr.workflows.budget_images import draw_order
from cdtr.workflows.reporting import Reporter, warn_of_left_out

RANDOM, REVIEW = "random", "review"

Rows = npt.NDArray[np.int64]
Boxes = list[DescribedBox | None]


@dataclass(frozen=True, slots=True)
class Look:
    """How a run looks at images, and how its boxes are measured.

    Attributes:
        source: The data set, with its boxes.
        protocol: How maps and true boxes are compared.
        view: What the network sees of an image.
        device: Where the network runs.
        empty: The classes without an object; None if every class has one.
        reporter: Takes progress.
    """

    source: DataSource
    protocol: Protocol
    view: View
    device: torch.device
    empty: EmptyClasses | None
    reporter: Reporter

    @classmethod
    def of(cls, first: RunFolder, source: DataSource, device: str | None, reporter: Reporter) -> Look:
        """Look as the run does under its own protocol."""
        config = first.config()
        protocol = find_protocol(config.evaluation.protocol)
        view = View.of(protocol.view or choose_view(first), config.data)
        return cls(source, protocol, view, find_device(device), empty_classes(first, view.name), reporter)

    def predict(self, run: RunFolder, samples: Sequence[Sample], title: str) -> list[ImagePrediction]:
        """Predict the maps of images with the method of a run."""
        on_broken = warn_of_left_out(self.reporter)
        batches = eval_loader(samples, run.config(), on_broken=on_broken, view=self.view.name)
        method = as_seen(load_model(run.path, self.device), self.view)
        found = []
        with self.reporter.progress(title, len(samples)) as advance:
            for prediction in predict(method, batches, self.device, empty=self.empty):
                found.append(prediction)
                advance(1)
        return found

    def sweep(self, predictions: Sequence[ImagePrediction]) -> SweptImages:
        """Cut the maps of predictions at every threshold."""
        return sweep_images(predictions, self.source.annotate, self.protocol)

    def describe(self, predictions: Sequence[ImagePrediction], threshold: float) -> Boxes:
        """Describe the box of each image's predicted class as its score needs it; None where there is no box."""
        describe = partial(describe_box, annotate=self.source.annotate, protocol=self.protocol, threshold=threshold)
        return list(map_in_order(describe, predictions))


@dataclass(slots=True)
class Drawn:
    """The predictions for the images to draw from, and the measured ones.

    Attributes:
        look: How the run looks at images.
        predictions: Those of the N images to draw from.
        swept: Their boxes at every threshold.
        measured_predictions: Those of the M measured images.
        measured: Their boxes at every threshold.
    """

    look: Look
    predictions: Sequence[ImagePrediction]
    swept: SweptImages
    measured_predictions: Sequence[ImagePrediction]
    measured: SweptImages
    _described: dict[float, tuple[Boxes, Boxes]] = field(default_factory=dict)

    @property
    def measured_samples(self) -> list[Sample]:
        """The measured images."""
        return [one.sample for one in self.measured_predictions]

    @property
    def base(self) -> BoolArray:
        """Which measured images are hit without any box, at the label-free threshold."""
        return self.measured.hits(self.swept.label_free())

    def rows(self, draw: int, size: int) -> Rows:
        """Return the images of a draw, in the order in which they are drawn."""
        return draw_order(len(self.predictions), draw)[:size]

    def point(self, order: str, size: int, draws: Sequence[Rows]) -> BudgetPoint:
        """Score a calibration on the images of each draw."""
        thresholds = [self.swept.take(rows).choose() for rows in draws]
        point = self.scored(order, size, thresholds)
        aurocs = [self._auroc(rows) for rows in draws] if size >= MIN_IMAGES else []
        known = [auroc for auroc in aurocs if auroc is not None]
        return replace(point, score_auroc=float(np.mean(known)) if known else None)

    def scored(self, order: str, size: int, thresholds: Sequence[float]) -> BudgetPoint:
        """Score the run at the threshold of each draw."""
        hits = np.stack([self.measured.hits(threshold) for threshold in thresholds])
        found = score_draws("calibrate", order, size, hits, self.base, self.measured.image_ids)
        return with_maps(found, [self.measured.best_rate()], thresholds)

    def calibrate(self, rows: Rows) -> tuple[float, BoxQuality]:
        """Choose the threshold on some images and fit the scores of boxes; DataError where these are too few."""
        threshold = self.swept.take(rows).choose()
        boxes, _ = self._boxes(threshold)
        some = [box for box in (boxes[row] for row in rows) if box is not None]
        return threshold, fit_described(some, len(self.look.source.class_names))

    def review_rows(self, draw: int, start: int) -> Rows:
        """Return the first images of a draw, then the others as a review list has them after a calibration on those."""
        threshold, quality = self.calibrate(self.rows(draw, start))
        helps = review_helps(self._boxes(threshold)[0], quality)
        first, rest = self.rows(draw, start), self.rows(draw, len(self.predictions))[start:]
        return np.concatenate([first, rest[np.argsort(-helps[rest], kind="stable")]])

    def _auroc(self, rows: Rows) -> float | None:
        """How well the scores tell hits from misses among the measured images, in percent; None without scores."""
        try:
            threshold, quality = self.calibrate(rows)
        except DataError:
            return None
        boxes = self._boxes(threshold)[1]
        hits = np.array([box is not None and box.hit for box in boxes])
        auroc = float(weighted_auroc(1 - review_helps(boxes, quality), hits, np.ones((1, len(boxes))))[0])
        return None if np.isnan(auroc) else 100 * auroc

    def _boxes(self, threshold: float) -> tuple[Boxes, Boxes]:
        """The boxes of the images to draw from, and of the measured ones, at a threshold."""
        if threshold not in self._described:
            self._described[threshold] = (
                self.look.describe(self.predictions, threshold),
                self.look.describe(self.measured_predictions, threshold),
            )
        return self._described[threshold]


def review_helps(boxes: Boxes, quality: BoxQuality) -> npt.NDArray[np.float64]:
    """Compute the column ``help`` of ``review.csv``: the probability that the box of an image is a miss, (N,)."""
    return np.array([1.0 if box is None else 1 - quality.score(box.features, box.label) for box in boxes])


def calibration_points(drawn: Drawn, sizes: Sequence[int], draws: int, reporter: Reporter) -> list[BudgetPoint]:
    """Score calibrations on random images, and on those that come first in a review list.

    Args:
        drawn: The predictions.
        sizes: Numbers of images, increasing.
        draws: Number of draws.
        reporter: Takes progress, and a note where there is no review list.
    """
    points = [drawn.scored(RANDOM, 0, [drawn.swept.label_free()])]
    for size in sizes:
        points.append(drawn.point(RANDOM, size, [drawn.rows(draw, size) for draw in range(draws)]))
    start, larger = review_sizes(sizes)
    if not larger:
        return points
    try:
        with reporter.progress("review lists", draws) as advance:
            orders = []
            for draw in range(draws):
                orders.append(drawn.review_rows(draw, start))
                advance(1)
    except DataError as error:
        reporter.note(f"the order of a review list is not measured: {error}")
        return points
    return points + [drawn.point(REVIEW, size, [order[:size] for order in orders]) for size in larger]


def review_sizes(sizes: Sequence[int]) -> tuple[int, list[int]]:
    """Return from how many random boxes a review list can be made, the smallest size that does, and what is larger."""
    enough = [size for size in sizes if size >= MIN_IMAGES]
    return (enough[0], enough[1:]) if enough else (0, [])
