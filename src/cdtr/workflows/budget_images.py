"""Which boxed images are drawn, and which ones measure what the drawn ones bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from cdtr.data.split import hold_out
from cdtr.errors import DataError
from cdtr.image_files.paths import content_hash
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder
from cdtr.workflows.opening import find_split, fitted_samples
from cdtr.workflows.reporting import SILENT, Reporter

FEWEST = 40  # images with boxes: half of them are drawn from, half measure
_MOST = 2000  # of them that are looked at, at random
_SEED = 0  # of the halves, which are the same in every call


@dataclass(frozen=True, slots=True)
class BudgetImages:
    """Images with boxes.

    Attributes:
        drawn: Those to draw from.
        measured: Those to measure on, never drawn; no copy of one is among the others.
        fitted: Those that the run was fitted to, of which a second stage takes boxes; empty unless they were asked for.
        of_fitted: How many of the measured images the run was fitted to.
    """

    drawn: tuple[Sample, ...]
    measured: tuple[Sample, ...]
    fitted: tuple[Sample, ...] = ()
    of_fitted: int = 0


def budget_images(
    first: RunFolder, source: DataSource, split: str | None, boxes: str | None, second_stage: bool, reporter: Reporter
) -> BudgetImages:
    """Halve the images with boxes that a run was not fitted to; all images with boxes where these are too few.

    Args:
        first: The run.
        source: The data set that it was trained on.
        split: The split whose images have boxes; None for all.
        boxes: What the user named, for messages.
        second_stage: Whether boxes of images that the run was fitted to are needed.
        reporter: Takes notes.

    Raises:
        DataError: Too few images have boxes.
    """
    named = "the data set" if boxes is None else boxes
    if not source.annotated:
        raise DataError(f"{source.root} has no boxes: name a file or folder of boxes of its images with `boxes=`")
    fit = {sample.path for sample in fitted_samples(first, source)}
    given = chain.from_iterable(source.splits.values()) if split is None else find_split(first, source, split)
    every = list({sample.path: sample for sample in given}.values())
    candidates = _with_boxes([sample for sample in every if sample.path not in fit], source)
    fitted: list[Sample] = []
    if second_stage or len(candidates) < FEWEST:
        fitted = _with_boxes([sample for sample in every if sample.path in fit], source)
    if not candidates and not fitted:
        raise DataError(f"no image of {source.root} has a box in {named}: expected boxes of these images")
    if len(candidates) < FEWEST:
        candidates = [*candidates, *fitted]
    if len(candidates) < FEWEST:
        raise DataError(
            f"{len(candidates)} images have boxes in {named}: expected at least {FEWEST}, half of them to draw from "
            "and half to measure on"
        )
    drawn, measured = hold_out(candidates, 0.5, _SEED)
    drawn, fitted = _without_copies(measured, drawn, fitted, reporter)
    of_fitted = sum(sample.path in fit for sample in measured)
    if of_fitted:
        reporter.warn(
            f"{of_fitted} of the {len(measured)} measured images are among those that the run was fitted to, by their "
            "labels alone: boxes of held-out images or of a split of their own measure better"
        )
    return BudgetImages(tuple(drawn), tuple(measured), tuple(fitted) if second_stage else (), of_fitted)


def check_sizes(
    sizes: str | Sequence[int] | None, available: int, default: Sequence[int], reporter: Reporter = SILENT
) -> tuple[int, ...]:
    """Return the numbers of boxed images to measure, without 0, which is always measured.

    Args:
        sizes: Numbers, or their digits with commas between; None takes those of the default that are available.
        available: Number of images to draw from.
        default: Of the sizes.
        reporter: Takes a note of sizes that are left out.

    Raises:
        DataError: They are no increasing whole numbers, or more than there are images.
    """
    if sizes is None:
        left_out = [size for size in default if size > available]
        if left_out:
            reporter.note(f"{available} images with boxes can be drawn: {', '.join(map(str, left_out))} are left out")
        found = [size for size in default if 0 < size <= available]
        if not found:
            raise DataError(f"{available} images with boxes can be drawn: expected at least {default[1]}, or `sizes=`")
        return tuple(found)
    words = sizes.split(",") if isinstance(sizes, str) else [str(size) for size in sizes]
    digits = [word.strip() for word in words]
    shown = ",".join(digits)
    if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in digits):
        raise DataError(f"`sizes={shown}`: expected whole numbers with commas between, such as 0,10,20,50")
    found = [int(word) for word in digits]
    if sorted(set(found)) != found or not found[-1]:
        raise DataError(f"`sizes={shown}`: expected increasing numbers, the last above 0, such as 0,10,20,50")
    if found[-1] > available:
        raise DataError(f"`sizes={shown}`: {available} images with boxes can be drawn, take no more")
    return tuple(size for size in found if size)


def draw_order(count: int, draw: int) -> npt.NDArray[np.int64]:
    """Return a permutation of ``count`` images, of which a draw takes the first; draws are numbered from 0."""
    return np.random.default_rng([_SEED, draw]).permutation(count)


def _with_boxes(samples: Sequence[Sample], source: DataSource) -> list[Sample]:
    """Those of the samples, at most ``_MOST`` at random, that have boxes."""
    found: list[int] = []
    for index in np.random.default_rng(_SEED).permutation(len(samples)).tolist():
        annotation = source.annotate(samples[index])
        if annotation is not None and len(annotation.boxes_xyxy):
            found.append(index)
        if len(found) == _MOST:
            break
    return [samples[index] for index in sorted(found)]


def _without_copies(
    measured: Sequence[Sample], drawn: Sequence[Sample], fitted: Sequence[Sample], reporter: Reporter
) -> tuple[list[Sample], list[Sample]]:
    """The images to draw and the fitted ones, without the measured ones and their copies under other names."""
    hashes = {content_hash(sample.path) for sample in measured} - {None}
    left, left_fitted = (
        [sample for sample in some if content_hash(sample.path) not in hashes] for some in (drawn, fitted)
    )
    if len(left) < len(drawn):
        reporter.note(f"{len(drawn) - len(left)} images that measured ones are copies of are not drawn")
    return left, left_fitted
