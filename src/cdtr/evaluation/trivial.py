"""What boxes that never look at the picture score on annotated images, without any method."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cdtr.errors import DataError
from cdtr.evaluation.measure import true_boxes
from cdtr.evaluation.protocols import Protocol
from cdtr.metrics import CentredBoxes
from cdtr.records import Annotation, Sample

_KEYS = ("gt_known_loc", "gt_known_loc_iou70", "relative_size_hw")


def trivial_scores(
    images: Iterable[tuple[Sample, tuple[int, int], Annotation | None]], protocol: Protocol
) -> dict[str, Any] | None:
    """The baselines that an evaluation under the protocol shows: GT-known Loc at IoU 0.5 and 0.7, in percent.

    images: sample, height and width of the source image, annotation. Those without a box do not count, and those whose
    boxes an evaluation would refuse are left out. None where no image counts. ``n_annotated``: how many do.
    """
    boxes = CentredBoxes(protocol.frame_hw, protocol.boxes)
    for sample, size_hw, annotation in images:
        try:
            truth = true_boxes(sample, size_hw, annotation, protocol)
        except DataError:
            continue
        if truth is not None:
            boxes.update(truth, sample.label, True, True)
    if not boxes.count:
        return None
    scores = {name: {key: found[key] for key in _KEYS if key in found} for name, found in boxes.compute().items()}
    return {"protocol": protocol.name, "n_annotated": boxes.count, **scores}
