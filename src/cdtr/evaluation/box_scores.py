"""The scores of boxes without ground truth: fitted on calibration images, and given to the boxes of an evaluation.

The box is that of the predicted class's map, the one that a user gets.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from cdtr.evaluation.evaluate import Progress
from cdtr.evaluation.forward import ImageAnswer, answers
from cdtr.evaluation.measure import Annotate, box_ious, map_in_order, place_answer, predicted_features, true_boxes
from cdtr.evaluation.protocols import Protocol
from cdtr.localization.quality import BoxQuality, Features
from cdtr.metrics import localized
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
) -> BoxQuality:
    """Fit on the boxes that a method finds at the threshold in images with true boxes; an image without a box is left
    out. ``mirrored`` looks at each image a second time. DataError where there are too few images, hits or misses.
    """

    def describe(answer: ImageAnswer) -> tuple[str, Features | None, int, bool]:
        gt_boxes = true_boxes(answer.sample, answer.size_hw, annotate(answer.sample), protocol)
        if gt_boxes is None:
            return answer.sample.image_id, None, 0, False
        frame_map = place_answer(answer.predicted_map, answer, protocol)
        (iou,) = box_ious(frame_map, gt_boxes, np.array([threshold]), protocol)
        features = predicted_features(frame_map, answer, protocol, threshold)
        return answer.sample.image_id, features, answer.predicted, bool(localized(iou))

    found: dict[str, tuple[Features, int, bool]] = {}
    for image_id, features, label, hit in map_in_order(describe, answers(method, batches, device, mirrored), workers):
        if features is not None:
            found[image_id] = features, label, hit
        if progress is not None:
            progress(1)
    rows, labels, hits = zip(*found.values(), strict=True) if found else ((), (), ())
    return BoxQuality.fit(rows, labels, hits, n_classes)
