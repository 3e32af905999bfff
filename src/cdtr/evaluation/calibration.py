"""Choose the map threshold on images that are not the test set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cdtr.errors import DataError
from cdtr.evaluation.evaluate import Progress
from cdtr.evaluation.forward import ImagePrediction, predict
from cdtr.evaluation.measure import Annotate, box_ious, score_map, true_boxes
from cdtr.evaluation.protocols import Protocol
from cdtr.evaluation.tally import sweep_thresholds
from cdtr.metrics import LOC_IOU, MaxBoxAcc
from cdtr.metrics.max_box_acc import LOC_LEVEL
from cdtr.parallel import map_in_order
from cdtr.records import Batch, Method
from cdtr.runs import hash_names

LABEL_FREE = "label-free: halfway from the maps' mean to their brightest fifth, no box was looked at"
_BRIGHT_SHARE = 0.2  # of a map's pixels, taken as the object
_SMOOTHING_REACH = 0.08  # to either side of a threshold: a peak of a few images must not win over a broad one


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map threshold and the images on which it was chosen.

    Attributes:
        threshold: In [0, 1).
        gt_known_loc: GT-known Loc at the threshold, in percent; None if no box was used.
        n_images: Number of images, with boxes unless the threshold was chosen without labels.
        protocol: Name of the protocol.
        images_sha256: Hash of the images' ids.
        curve: (threshold, GT-known Loc in percent) over the sweep; None if no box was used.
        map_span: Median over the images of the span, highest less lowest, of the predicted class's map before it is
            scaled to [0, 1]; an image with a much smaller one holds nothing that the method knows.
    """

    threshold: float
    gt_known_loc: float | None
    n_images: int
    protocol: str
    images_sha256: str
    curve: tuple[tuple[float, float], ...] | None
    map_span: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values, as ``calibration.json`` holds them."""
        return {
            "threshold": self.threshold,
            "criterion": LABEL_FREE if self.curve is None else f"gt_known_loc at IoU {LOC_IOU}",
            "gt_known_loc": self.gt_known_loc,
            "n_images": self.n_images,
            "protocol": self.protocol,
            "images_sha256": self.images_sha256,
            "curve": None if self.curve is None else [list(point) for point in self.curve],
            "map_span": self.map_span,
        }


def calibrate(
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    protocols: Sequence[Protocol],
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    delta: float = 0.01,
    workers: int | None = None,
) -> list[Calibration]:
    """Run a method once and choose a threshold for each protocol; see ``calibrate_predictions``."""
    return calibrate_predictions(
        predict(method, batches, device), annotate, protocols, progress, delta=delta, workers=workers
    )


def calibrate_predictions(
    found: Iterable[ImagePrediction],
    annotate: Annotate,
    protocols: Sequence[Protocol],
    progress: Progress | None = None,
    *,
    delta: float = 0.01,
    workers: int | None = None,
) -> list[Calibration]:
    """Choose the threshold that maximises GT-known Loc over held-out images.

    The curve is averaged over 0.08 to either side first, because its highest point is due to chance when images are
    few. Of equally good thresholds the middle of the widest plateau is chosen.

    Args:
        found: Predictions for held-out images, by whatever method.
        annotate: Returns an image's annotation, None if it has none; called from several threads.
        protocols: How maps and true boxes are compared.
        progress: Called with 1 for each image.
        delta: Step of the sweep.
        workers: Number of threads; None to choose by the cores.

    Returns:
        The choice for each protocol.

    Raises:
        DataError: If no image has a box.
    """
    thresholds = sweep_thresholds(delta)
    metrics = [MaxBoxAcc(thresholds, (LOC_LEVEL,)) for _ in protocols]
    seen: set[str] = set()
    spans: list[float] = []

    def sweep(prediction: ImagePrediction) -> tuple[str, float, list[npt.NDArray[np.float64]] | None]:
        annotation = annotate(prediction.sample)
        truths = [
            (protocol, true_boxes(prediction.sample, prediction.size_hw, annotation, protocol))
            for protocol in protocols
        ]
        ious = [
            box_ious(score_map(prediction, protocol), boxes, thresholds, protocol)
            for protocol, boxes in truths
            if boxes is not None
        ]
        return prediction.sample.image_id, _span(prediction), ious or None

    for image_id, span, ious in map_in_order(sweep, found, workers):
        if ious is not None and image_id not in seen:
            for metric, best_iou in zip(metrics, ious, strict=True):
                metric.update_ious(best_iou)
            seen.add(image_id)
            spans.append(span)
        if progress is not None:
            progress(1)
    if not seen:
        raise DataError(
            "no image has a box to calibrate on: expected boxes for some held-out images, annotate a few dozen or give "
            "a threshold"
        )
    chosen = [_choose(metric, protocol, hash_names(seen)) for metric, protocol in zip(metrics, protocols, strict=True)]
    return [replace(one, map_span=float(np.median(spans))) for one in chosen]


def calibrate_label_free(
    method: Method,
    batches: Iterable[Batch],
    protocols: Sequence[Protocol],
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> list[Calibration]:
    """Run a method once and choose thresholds without boxes; see ``calibrate_predictions_label_free``."""
    return calibrate_predictions_label_free(predict(method, batches, device), protocols, progress, workers=workers)


def calibrate_predictions_label_free(
    found: Iterable[ImagePrediction],
    protocols: Sequence[Protocol],
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> list[Calibration]:
    """Choose a threshold without boxes: the mean of ``halfway_threshold`` over the maps.

    docs/benchmarks.md compares it with thresholds chosen on boxes and with other criteria.

    Args:
        found: As in ``calibrate_predictions``.
        protocols: As in ``calibrate_predictions``.
        progress: As in ``calibrate_predictions``.
        workers: As in ``calibrate_predictions``.

    Returns:
        The choice for each protocol.

    Raises:
        DataError: If there is no image.
    """
    totals = np.zeros(len(protocols))
    seen: set[str] = set()
    spans: list[float] = []

    def thresholds(prediction: ImagePrediction) -> tuple[str, float, list[float]]:
        chosen = [halfway_threshold(score_map(prediction, protocol)) for protocol in protocols]
        return prediction.sample.image_id, _span(prediction), chosen

    for image_id, span, chosen in map_in_order(thresholds, found, workers):
        if image_id not in seen:
            seen.add(image_id)
            spans.append(span)
            totals += chosen
        if progress is not None:
            progress(1)
    if not seen:
        raise DataError("no image to calibrate on: expected some held-out images that can be read")
    return [
        Calibration(
            float(total) / len(seen), None, len(seen), protocol.name, hash_names(seen), None, float(np.median(spans))
        )
        for total, protocol in zip(totals, protocols, strict=True)
    ]


def _span(prediction: ImagePrediction) -> float:
    return float(prediction.predicted_map.max() - prediction.predicted_map.min())


def halfway_threshold(score_map: npt.NDArray[np.floating[Any]]) -> float:
    """Compute the middle between the mean of a map and the mean of its brightest fifth.

    The brightest fifth estimates the object's level, the mean the background's.

    Args:
        score_map: (H, W) in [0, 1].
    """
    pixels = score_map.ravel()
    start = int((1 - _BRIGHT_SHARE) * pixels.size)
    return float(pixels.mean() + np.partition(pixels, start)[start:].mean()) / 2


def _choose(metric: MaxBoxAcc, protocol: Protocol, images_sha256: str) -> Calibration:
    rates = metric.rates[0]
    delta = float(metric.thresholds[1] - metric.thresholds[0]) if len(metric.thresholds) > 1 else 1.0
    chosen = best_index(rates, delta)
    thresholds = [round(float(threshold), 10) for threshold in metric.thresholds]
    return Calibration(
        threshold=thresholds[chosen],
        gt_known_loc=float(rates[chosen]),
        n_images=metric.count,
        protocol=protocol.name,
        images_sha256=images_sha256,
        curve=tuple(zip(thresholds, rates.tolist(), strict=True)),
    )


def best_index(rates: npt.NDArray[np.float64], delta: float) -> int:
    """Find the threshold to choose by the hit rates (T,) of a sweep of step ``delta``."""
    return middle_of_plateau(smoothed(rates, round(_SMOOTHING_REACH / delta)))


def smoothed(rates: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    """Average each rate (N,) with ``reach`` neighbours to either side; the first and last are repeated at the ends."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(rates, reach, mode="edge"), 2 * reach + 1)
    means: npt.NDArray[np.float64] = windows.mean(axis=1)
    return means


def middle_of_plateau(rates: npt.NDArray[np.float64]) -> int:
    """Find the middle index of the longest run of the maximum of rates (N,); of equally long runs the first."""
    best = rates >= rates.max() - 1e-9
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return int((starts[longest] + ends[longest] - 1) // 2)
