"""How far an exported file is from the method that it was made of, in numbers and in boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdtr.deployment.compared_images import ComparedImages
from cdtr.deployment.program import Runner
from cdtr.deployment.session import Outputs, Pixels
from cdtr.errors import CheckpointError
from cdtr.localization.boxes import BoxArray, iou_half_open, largest_box
from cdtr.localization.maps import normalise_maps, place_map
from cdtr.records import Field, FloatArray

TOLERANCE = 1e-4
_TINY = float(np.finfo(np.float32).tiny)
BATCHES = (1, 2, 5, 16)


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference of logits and of maps, as a share of the largest absolute value of each."""

    logits: float
    maps: float

    @property
    def largest(self) -> float:
        """Largest difference of any logit or map value."""
        return float(np.max([self.logits, self.maps]))


def measure_difference(reference: Runner, other: Runner, pixels: Pixels) -> Difference:
    """Return the largest difference of two runners over batches of several sizes, as far as there are images.

    Differences are shares of the largest absolute value of the reference, as rounding in float32 is.
    """
    found = []
    for size in sorted({min(size, len(pixels)) for size in BATCHES}):
        pairs = zip(reference(pixels[:size]), other(pixels[:size]), strict=True)
        found.append([np.abs(one - two).max() / max(np.abs(one).max(), _TINY) for one, two in pairs])
    return Difference(*np.max(found, axis=0).tolist())


def check_same(what: str, difference: Difference) -> None:
    """Raise CheckpointError for a difference that is above ``TOLERANCE`` or not a number."""
    if not difference.largest <= TOLERANCE:
        raise CheckpointError(
            f"{what} differs from the run by {difference.logits:.1e} (logits) and {difference.maps:.1e} (maps), "
            f"expected at most {TOLERANCE:g}: nothing was written, evaluate the run itself instead"
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of boxes with those of a reference, both for the class that each predicts, in source pixels.

    Attributes:
        iou: mean IoU, in [0, 1]; 1 for an image in which neither found a box.
        same_class: share of images with the same class.
        same_box: share of images with the same box.
    """

    iou: float
    same_class: float
    same_box: float


def measure_agreement(reference: Outputs, other: Outputs, images: ComparedImages, threshold: float) -> Agreement:
    """Return the agreement of two outputs for the same images at a map threshold."""
    classes = [outputs.logits.argmax(axis=1) for outputs in (reference, other)]
    ious = []
    for index, (size_hw, field) in enumerate(zip(images.sizes_hw, images.fields, strict=True)):
        one, two = (
            _box(outputs.maps[index, labels[index]], size_hw, field, threshold)
            for outputs, labels in zip((reference, other), classes, strict=True)
        )
        ious.append(float(iou_half_open(one, two)[0, 0]) if len(one) and len(two) else float(len(one) == len(two)))
    return Agreement(float(np.mean(ious)), float(np.mean(classes[0] == classes[1])), float(np.mean(np.equal(ious, 1))))


def _box(coarse: FloatArray, size_hw: tuple[int, int], field: Field | None, threshold: float) -> BoxArray:
    return largest_box(normalise_maps(place_map(coarse, size_hw, field)), threshold)
