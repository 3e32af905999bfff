"""Run a method over a data set and feed the metrics, one forward pass for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch

from cdtr.evaluation.forward import ImageAnswer, answers
from cdtr.evaluation.measure import Annotate, Measures, map_in_order, measure
from cdtr.evaluation.protocols import Protocol
from cdtr.evaluation.result import Evaluation
from cdtr.evaluation.tally import Tally
from cdtr.records import Batch, Method

Progress = Callable[[int], None]


def evaluate(
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    protocol: Protocol,
    threshold: float | None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    delta: float = 0.01,
    threshold_source: str | None = None,
    workers: int | None = None,
) -> Evaluation:
    """Measure classification on all images and localization on those with boxes.

    annotate is called from several threads. threshold: the map threshold in use, None where there is none yet; delta:
    the step of the thresholds that MaxBoxAcc and PxAP sweep. progress is called with 1 for each image done.
    """
    tally = tally_images(method, batches, annotate, protocol, threshold, device, progress, delta=delta, workers=workers)
    return tally.finish(threshold_source)


def tally_images(
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    protocol: Protocol,
    threshold: float | None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    delta: float = 0.01,
    workers: int | None = None,
) -> Tally:
    """The totals of ``evaluate``, for parts of a data set that are merged before they are finished."""
    tally = Tally(protocol, threshold, delta)
    work = partial(_measure, annotate=annotate, tally=tally)
    for measures in map_in_order(work, answers(method, batches, device), workers):
        tally.add(measures)
        if progress is not None:
            progress(1)
    return tally


def _measure(answer: ImageAnswer, annotate: Annotate, tally: Tally) -> Measures:
    annotation = annotate(answer.sample)
    return measure(answer, annotation, tally.protocol, tally.thresholds, tally.pxap.edges, tally.threshold)
