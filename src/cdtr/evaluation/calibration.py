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
from cdtr.records import Batch, Method
from cdtr.runs import hash_names


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chosen threshold, and on what it was chosen.

    gt_known_loc: percent at that threshold. curve: (threshold, percent) over the sweep. n_images: images
    with boxes that it was chosen on; images_sha256: hash of their ids.
    """

    threshold: float
    gt_known_loc: float
    n_images: int
    protocol: str
    images_sha256: str
    curve: tuple[tuple[float, float], ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "criterion": f"gt_known_loc at IoU {LOC_IOU}",
            "gt_known_loc": self.gt_known_loc,
            "n_images": self.n_images,
            "protocol": self.protocol,
            "images_sha256": self.images_sha256,
            "curve": [list(point) for point in self.curve],
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
    """For each protocol the threshold that maximises GT-known Loc over held-out images, from one forward pass.

    Of equally good thresholds it is the middle of the widest plateau. Raises DataError where no image has a box.
    """
    thresholds = sweep_thresholds(delta)
    metrics = [MaxBoxAcc(thresholds, (round(100 * LOC_IOU),)) for _ in protocols]
    seen: set[str] = set()

    def sweep(answer: ImageAnswer) -> tuple[str, list[npt.NDArray[np.float64]] | None]:
        annotation = annotate(answer.sample)
        found = [(protocol, true_boxes(answer, annotation, protocol)) for protocol in protocols]
        ious = [
            box_ious(score_map(answer, protocol), boxes, thresholds, protocol)
            for protocol, boxes in found
            if boxes is not None
        ]
        return answer.sample.image_id, ious or None

    for image_id, ious in map_in_order(sweep, answers(method, batches, device), workers):
        if ious is not None and image_id not in seen:
            for metric, best_iou in zip(metrics, ious, strict=True):
                metric.add(best_iou)
            seen.add(image_id)
        if progress is not None:
            progress(1)
    if not seen:
        raise DataError(
            "no image has a box to calibrate on: expected boxes for some held-out images, annotate a few dozen or give "
            "a threshold"
        )
    return [_choose(metric, protocol, hash_names(seen)) for metric, protocol in zip(metrics, protocols, strict=True)]


def _choose(metric: MaxBoxAcc, protocol: Protocol, images_sha256: str) -> Calibration:
    rates = metric.rates[0]
    chosen = middle_of_plateau(rates)
    thresholds = [round(float(threshold), 10) for threshold in metric.thresholds]
    return Calibration(
        threshold=thresholds[chosen],
        gt_known_loc=float(rates[chosen]),
        n_images=metric.count,
        protocol=protocol.name,
        images_sha256=images_sha256,
        curve=tuple(zip(thresholds, rates.tolist(), strict=True)),
    )


def middle_of_plateau(rates: npt.NDArray[np.float64]) -> int:
    """Index of the middle of the longest run of the maximum; of equally long runs the first."""
    best = rates == rates.max()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    return int((starts[longest] + ends[longest] - 1) // 2)
