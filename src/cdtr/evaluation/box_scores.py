"""Fit the scores of boxes: the probability that the predicted class's box is a hit, without ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cdtr.evaluation.evaluate import Progress
from cdtr.evaluation.forward import ImagePrediction, predict
from cdtr.evaluation.measure import Annotate, box_ious, place_prediction, predicted_features, true_boxes
from cdtr.evaluation.protocols import Protocol
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import BoxQuality, Features
from cdtr.metrics import localized
from cdtr.parallel import map_in_order
from cdtr.records import Batch, Method


def fit_box_scores(
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    protocol: Protocol,
    threshold: float,
    n_classes: int,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    mirrored: bool = False,
    workers: int | None = None,
    empty: EmptyClasses | None = None,
) -> BoxQuality:
    """Fit the scores on images with true boxes.

    Args:
        method: Run in evaluation mode.
        batches: Of an evaluation loader.
        annotate: Returns an image's annotation, None if it has none; called from several threads.
        protocol: How maps and true boxes are compared.
        threshold: The map threshold in use.
        n_classes: Number of classes.
        device: Where the method runs; it is moved there.
        progress: Called with 1 for each image.
        mirrored: Whether to run the method on mirrored images too, for one more feature.
        workers: Number of threads; None to choose by the cores.
        empty: The classes without an object, and the rule by which an image gets no box; None if every class has one.

    Returns:
        The fitted scores. Images in which the method finds no box are left out.

    Raises:
        DataError: If there are too few images, hits or misses.
    """

    def describe(prediction: ImagePrediction) -> tuple[str, DescribedBox | None]:
        return prediction.sample.image_id, describe_box(prediction, annotate, protocol, threshold)

    found: dict[str, DescribedBox] = {}
    predictions = predict(method, batches, device, mirrored, empty)
    for image_id, box in map_in_order(describe, predictions, workers):
        if box is not None:
            found[image_id] = box
        if progress is not None:
            progress(1)
    return fit_described(list(found.values()), n_classes)


@dataclass(frozen=True, slots=True)
class DescribedBox:
    """The box of an image's predicted class.

    Attributes:
        features: What its score depends on.
        label: Its class.
        hit: Whether its IoU with a true box is at least 0.5.
    """

    features: Features
    label: int
    hit: bool


def describe_box(
    prediction: ImagePrediction, annotate: Annotate, protocol: Protocol, threshold: float
) -> DescribedBox | None:
    """Describe the box that is found at a map threshold; None where there is none, and for an image without boxes."""
    gt_boxes = true_boxes(prediction.sample, prediction.size_hw, annotate(prediction.sample), protocol)
    if gt_boxes is None or not prediction.gets_box:
        return None
    frame_map = place_prediction(prediction.predicted_map, prediction, protocol)
    (iou,) = box_ious(frame_map, gt_boxes, np.array([threshold]), protocol)
    features = predicted_features(frame_map, prediction, protocol, threshold)
    return None if features is None else DescribedBox(features, prediction.predicted, bool(localized(iou)))


def fit_described(boxes: Sequence[DescribedBox], n_classes: int) -> BoxQuality:
    """Fit the scores on one box an image; DataError if there are too few images, hits or misses."""
    return BoxQuality.fit(
        [box.features for box in boxes], [box.label for box in boxes], [box.hit for box in boxes], n_classes
    )
