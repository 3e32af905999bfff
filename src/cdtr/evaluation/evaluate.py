"""Run a method over a data set and count its images, with one forward pass for all protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from accelerate.utils import gather_object

from cdtr.evaluation.forward import ImagePrediction, predict
from cdtr.evaluation.measure import Annotate, Measures, measure
from cdtr.evaluation.tally import Tally
from cdtr.localization.presence import EmptyClasses
from cdtr.parallel import map_in_order
from cdtr.records import Batch, Method

Progress = Callable[[int], None]


def tally_images(
    tallies: Sequence[Tally],
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
    workers: int | None = None,
    empty: EmptyClasses | None = None,
) -> None:
    """Run a method over batches and count every image in each tally.

    There is one forward pass for all tallies; a protocol that crops takes its part of what the batches show. Tallies of
    parts of a data set can be merged before they are finished.

    Args:
        tallies: One for each protocol.
        method: A module's mode is restored afterwards.
        batches: Of an evaluation loader.
        annotate: Returns an image's annotation, None if it has none; called from several threads.
        device: Where the method runs; it is moved there.
        progress: Called with 1 for each image.
        workers: Number of threads that compare images with their annotations; None to choose by the cores.
        empty: The classes without an object, and the rule by which an image gets no box; None if every class has one.

    Raises:
        CheckpointError: If the method has fewer classes than the data, or its output is not finite.
        DataError: If an annotation is broken; the message names the image.
    """
    mirrored = any(tally.quality is not None and tally.quality.mirrored for tally in tallies)
    tally_predictions(tallies, predict(method, batches, device, mirrored, empty), annotate, progress, workers)


def tally_predictions(
    tallies: Sequence[Tally],
    found: Iterable[ImagePrediction],
    annotate: Annotate,
    progress: Progress | None = None,
    workers: int | None = None,
) -> None:
    """Count images in each tally whose maps and classes are known, by whatever method.

    Args:
        tallies: As in ``tally_images``.
        found: Predictions, one for each image.
        annotate: As in ``tally_images``.
        progress: As in ``tally_images``.
        workers: As in ``tally_images``.

    Raises:
        DataError: If an annotation is broken; the message names the image.
    """
    work = partial(_measure, annotate=annotate, tallies=tallies)
    for measured in map_in_order(work, found, workers):
        for tally, measures in zip(tallies, measured, strict=True):
            tally.add(measures)
        if progress is not None:
            progress(1)


def gather_tallies(tallies: Sequence[Tally]) -> list[Tally]:
    """Merge the tallies of all processes.

    Args:
        tallies: This process's; each process counts other images.

    Returns:
        The merged tallies, in every process.
    """
    first, *others = gather_object([list(tallies)])
    for part in others:
        for tally, more in zip(first, part, strict=True):
            tally.merge(more)
    merged: list[Tally] = first
    return merged


def _measure(prediction: ImagePrediction, annotate: Annotate, tallies: Sequence[Tally]) -> list[Measures]:
    annotation = annotate(prediction.sample)
    return [
        measure(
            prediction, annotation, tally.protocol, tally.thresholds, tally.pxap.edges, tally.threshold, tally.quality
        )
        for tally in tallies
    ]
