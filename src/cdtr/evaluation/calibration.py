"""Choosing the map threshold on images that are not the test set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cdtr.errors import DataError
from cdtr.evaluation.evaluate import Progress
from cdtr.evaluation.forward import ImageAnswer, answers
from cdtr.evaluation.measure import Annotate, box_ious, map_in_order, score_map, true_boxes
from cdtr.evaluation.protocols import Protocol
from cdtr.evaluation.tally import sweep_thresholds
from cdtr.metrics import LOC_IOU, MaxBoxAcc
from cdtr.metrics.max_box_acc import LOC_LEVEL
from cdtr.records import Batch, Method
from cdtr.runs import hash_names

LABEL_FREE = "label-free: halfway from the maps' mean to their brightest fifth, no box was looked at"
_BRIGHT = 0.2  # the share of a map's pixels that stands for the object
_SMOOTHED = 0.08  # to either side of a threshold: a peak of a few images must not win over a broad one


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chosen threshold, and on what it was chosen.

    gt_known_loc: percent at that threshold. curve: (threshold, percent) over the sweep; both None where no box was
    looked at. n_images: images that it was chosen on, with boxes unless label-free; images_sha256: hash of their ids.
    """

    threshold: float
    gt_known_loc: float | None
    n_images: int
    protocol: str
    images_sha256: str
    curve: tuple[tuple[float, float], ...] | None

    def to_json(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "criterion": LABEL_FREE if self.curve is None else f"gt_known_loc at IoU {LOC_IOU}",
            "gt_known_loc": self.gt_known_loc,
            "n_images": self.n_images,
            "protocol": self.protocol,
            "images_sha256": self.images_sha256,
            "curve": None if self.curve is None else [list(point) for point in self.curve],
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
    """``calibrate_answers`` on a method's answers, from one forward pass."""
    return calibrate_answers(
        answers(method, batches, device), annotate, protocols, progress, delta=delta, workers=workers
    )


def calibrate_answers(
    found: Iterable[ImageAnswer],
    annotate: Annotate,
    protocols: Sequence[Protocol],
    progress: Progress | None = None,
    *,
    delta: float = 0.01,
    workers: int | None = None,
) -> list[Calibration]:
    """For each protocol the threshold that maximises GT-known Loc over held-out images, whoever made their maps.

    Each threshold counts with its neighbours, within 0.08: among few images the highest point is often a chance of
    some. Of equally good thresholds it is the middle of the widest plateau. DataError where no image has a box.
    """
    thresholds = sweep_thresholds(delta)
    metrics = [MaxBoxAcc(thresholds, (LOC_LEVEL,)) for _ in protocols]
    seen: set[str] = set()

    def sweep(answer: ImageAnswer) -> tuple[str, list[npt.NDArray[np.float64]] | None]:
        annotation = annotate(answer.sample)
        truths = [(protocol, true_boxes(answer.sample, answer.size_hw, annotation, protocol)) for protocol in protocols]
        ious = [
            box_ious(score_map(answer, protocol), boxes, thresholds, protocol)
            for protocol, boxes in truths
            if boxes is not None
        ]
        return answer.sample.image_id, ious or None

    for image_id, ious in map_in_order(sweep, found, workers):
        if ious is not None and image_id not in seen:
            for metric, best_iou in zip(metrics, ious, strict=True):
                metric.update_ious(best_iou)
            seen.add(image_id)
        if progress is not None:
            progress(1)
    if not seen:
        raise DataError(
            "no image has a box to calibrate on: expected boxes for some held-out images, annotate a few dozen or give "
            "a threshold"
        )
    return [_choose(metric, protocol, hash_names(seen)) for metric, protocol in zip(metrics, protocols, strict=True)]


def calibrate_label_free(
    method: Method,
    batches: Iterable[Batch],
    protocols: Sequence[Protocol],
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> list[Calibration]:
    """``calibrate_answers_label_free`` on a method's answers."""
    return calibrate_answers_label_free(answers(method, batches, device), protocols, progress, workers=workers)


def calibrate_answers_label_free(
    found: Iterable[ImageAnswer],
    protocols: Sequence[Protocol],
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> list[Calibration]:
    """For each protocol a threshold without any box: the mean of ``halfway_threshold`` over the maps.

    See docs/benchmarks.md for what it costs beside boxes, and for the criteria that did worse. DataError without an
    image.
    """
    totals = np.zeros(len(protocols))
    seen: set[str] = set()

    def thresholds(answer: ImageAnswer) -> tuple[str, list[float]]:
        return answer.sample.image_id, [halfway_threshold(score_map(answer, protocol)) for protocol in protocols]

    for image_id, chosen in map_in_order(thresholds, found, workers):
        if image_id not in seen:
            seen.add(image_id)
            totals += chosen
        if progress is not None:
            progress(1)
    if not seen:
        raise DataError("no image to calibrate on: expected some held-out images that can be read")
    return [
        Calibration(float(total) / len(seen), None, len(seen), protocol.name, hash_names(seen), None)
        for total, protocol in zip(totals, protocols, strict=True)
    ]


def halfway_threshold(score_map: npt.NDArray[np.floating[Any]]) -> float:
    """Halfway from the mean of a map (H, W) to the mean of its brightest fifth.

    Bright pixels stand for the object and the mean for what it stands out from, so that broad hills are cut higher up
    than sharp peaks, which leave most of the map dark.
    """
    pixels = score_map.ravel()
    start = int((1 - _BRIGHT) * pixels.size)
    return float(pixels.mean() + np.partition(pixels, start)[start:].mean()) / 2


def _choose(metric: MaxBoxAcc, protocol: Protocol, images_sha256: str) -> Calibration:
    rates = metric.rates[0]
    delta = float(metric.thresholds[1] - metric.thresholds[0]) if len(metric.thresholds) > 1 else 1.0
    chosen = middle_of_plateau(smoothed(rates, round(_SMOOTHED / delta)))
    thresholds = [round(float(threshold), 10) for threshold in metric.thresholds]
    return Calibration(
        threshold=thresholds[chosen],
        gt_known_loc=float(rates[chosen]),
        n_images=metric.count,
        protocol=protocol.name,
        images_sha256=images_sha256,
        curve=tuple(zip(thresholds, rates.tolist(), strict=True)),
    )


def smoothed(rates: npt.NDArray[np.float64], reach: int) -> npt.NDArray[np.float64]:
    """The mean of each rate (N,) and ``reach`` neighbours to either side; the outermost repeat beyond the ends."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(rates, reach, mode="edge"), 2 * reach + 1)
    means: npt.NDArray[np.float64] = windows.mean(axis=1)
    return means


def middle_of_plateau(rates: npt.NDArray[np.float64]) -> int:
    """Index of the middle of the longest run of the maximum; of equally long runs the first."""
    best = rates >= rates.max() - 1e-9
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return int((starts[longest] + ends[longest] - 1) // 2)
