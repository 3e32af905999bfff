"""What a calibration fitted and may be used in an evaluation: nothing that was fitted to the images that are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cdtr.api import box_quality, calibrated_threshold, empty_classes, scores_misfit
from cdtr.config import ViewName
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import BoxQuality
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold


@dataclass(frozen=True, slots=True)
class FairQuality:
    """What scores the boxes, None where that cannot be measured fairly; and what to note of it."""

    quality: BoxQuality | None = None
    notes: tuple[str, ...] = ()


def fair_quality(
    run: RunFolder, threshold: Threshold | None, leaks: Callable[[], int], allow_leak: bool
) -> FairQuality:
    """What scores the run's boxes at a threshold, where the measured images allow it.

    threshold: in use under the run's own protocol; None where that is not asked for. leaks: counts the images that the
    scores were fitted on.
    """
    quality = None if threshold is None else box_quality(run)
    if quality is None or threshold is None:
        return FairQuality()
    misfit = scores_misfit(calibrated_threshold(run), threshold.value)
    if misfit is not None:
        return FairQuality(notes=(f"the scores of boxes are not measured: {misfit}",))
    if not leaks():
        return FairQuality(quality)
    found = f"fitted on {leaks()} of these images"
    if allow_leak:
        return FairQuality(quality, (f"the scores of boxes were {found}, which flatters them",))
    note = f"the scores of boxes are not measured: they were {found}, `allow_leak=True` measures them all the same"
    return FairQuality(notes=(note,))


def fair_empty(
    run: RunFolder, view: ViewName, leaks: Callable[[], int], allow_leak: bool
) -> tuple[EmptyClasses | None, tuple[str, ...]]:
    """The classes without an object and the rule by which an image gets no box, and what to note of them.

    view: what the network sees. leaks: counts the images that the rule's probability was chosen on.
    """
    empty = empty_classes(run, view)
    if empty is None:
        return None, ()
    notes: tuple[str, ...] = ()
    if empty.threshold is not None and leaks():
        found = f"the probability of an object from which an image gets a box was chosen on {leaks()} of these images"
        if allow_leak:
            notes = (f"{found}, which flatters the false and missing boxes",)
        else:
            empty, notes = empty.without_threshold(), (f"{found}, so it is not used",)
    return empty, (empty.describe(run.class_names()), *notes)
