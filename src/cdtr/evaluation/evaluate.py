"""Run a method over a data set and feed the metrics, one forward pass for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from accelerate.utils import gather_object

from cdtr.evaluation.forward import ImageAnswer, answers
from cdtr.evaluation.measure import Annotate, Measures, map_in_order, measure
from cdtr.evaluation.protocols import Protocol
from cdtr.evaluation.result import Evaluation
from cdtr.evaluation.tally import DELTA, Tally
from cdtr.records import Batch, Method
from cdtr.threshold import Threshold

Progress = Callable[[int], None]


def evaluate(
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    protocol: Protocol,
    threshold: Threshold | float | None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    *,
    delta: float = DELTA,
    workers: int | None = None,
) -> Evaluation:
    """Measure classification on all images and localization on those with boxes, under one protocol.

    threshold: the map threshold in use, a bare number for one that was given, None where there is none yet; delta: the
    step of the thresholds that MaxBoxAcc and PxAP sweep. The rest: see ``tally_images``.
    """
    tally = Tally(protocol, threshold, delta)
    tally_images([tally], method, batches, annotate, device, progress, workers)
    return tally.finish()


def tally_images(
    tallies: Sequence[Tally],
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    workers: int | None = None,
) -> None:
    """Count every image in each tally, from one forward pass over the batches.

    A protocol that crops takes its part of what the batches show. annotate is called from several threads; progress is
    called with 1 for each image done. The tallies of parts of a data set can be merged before they are finished.
    """
    mirrored = any(tally.quality is not None and tally.quality.mirrored for tally in tallies)
    tally_answers(tallies, answers(method, batches, device, mirrored), annotate, progress, workers)


def tally_answers(
    tallies: Sequence[Tally],
    found: Iterable[ImageAnswer],
    annotate: Annotate,
    progress: Progress | None = None,
    workers: int | None = None,
) -> None:
    """The same for answers that are there already, a method's or anybody's."""
    work = partial(_measure, annotate=annotate, tallies=tallies)
    for measured in map_in_order(work, found, workers):
        for tally, measures in zip(tallies, measured, strict=True):
            tally.add(measures)
        if progress is not None:
            progress(1)


def gather_tallies(tallies: Sequence[Tally]) -> list[Tally]:
    """The tallies of all processes merged, in every process; each must have counted images of its own."""
    first, *others = gather_object([list(tallies)])
    for part in others:
        for tally, more in zip(first, part, strict=True):
            tally.merge(more)
    merged: list[Tally] = first
    return merged


def _measure(answer: ImageAnswer, annotate: Annotate, tallies: Sequence[Tally]) -> list[Measures]:
    annotation = annotate(answer.sample)
    return [
        measure(answer, annotation, tally.protocol, tally.thresholds, tally.pxap.edges, tally.threshold, tally.quality)
        for tally in tallies
    ]
