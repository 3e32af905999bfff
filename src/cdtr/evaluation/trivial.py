"""Scores of boxes that ignore the image on annotated images, without any method."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cdtr.errors import DataError
from cdtr.evaluation.measure import true_boxes
from cdtr.evaluation.protocols import Protocol
from cdtr.metrics import CentredBoxes, all_metrics
from cdtr.records import Annotation, Sample


def trivial_scores(
    images: Iterable[tuple[Sample, tuple[int, int], Annotation | None]], protocol: Protocol
) -> dict[str, Any] | None:
    """Measure the baselines of an evaluation by the metrics that need no predicted class.

    Args:
        images: Sample, height and width of the source image, and annotation. Images without a box do not count; those
            whose boxes an evaluation would refuse are left out.
        protocol: How boxes are compared.

    Returns:
        ``protocol``, ``n_annotated`` (the number of images that count), and the scores of each baseline in percent;
        None if no image counts.
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
    left_out = {metric.key for metric in all_metrics() if metric.needs_class} | {"chosen_on"}
    scores = {
        name: {key: value for key, value in found.items() if key not in left_out}
        for name, found in boxes.compute().items()
    }
    return {"protocol": protocol.name, "n_annotated": boxes.count, **scores}
