"""How far an exported file is from the method it was made of: in numbers, in boxes, in scores and in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cdtr.deployment.pictures import Pictures
from cdtr.deployment.program import Runner
from cdtr.deployment.session import Outputs, Pixels
from cdtr.errors import CheckpointError
from cdtr.evaluation import Protocol, Tally, tally_answers
from cdtr.evaluation.forward import ImageAnswer
from cdtr.evaluation.measure import Annotate
from cdtr.localization.boxes import BoxArray, iou_half_open, largest_box
from cdtr.localization.finder import class_probabilities
from cdtr.localization.maps import normalise_maps, place_map
from cdtr.records import Field, FloatArray

TOLERANCE = 1e-4
BATCHES = (1, 2, 5, 16)
SCORES = ("gt_known_loc", "top1_loc", "top1_cls")


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest difference of logits and of maps; where all values lie below 1, as a share of the largest one."""

    logits: float
    maps: float

    @property
    def largest(self) -> float:
        return float(np.max([self.logits, self.maps]))


def measure_difference(reference: Runner, other: Runner, pixels: Pixels) -> Difference:
    """Over batches of several sizes, as far as there are so many images."""
    found = []
    for size in sorted({min(size, len(pixels)) for size in BATCHES}):
        pairs = zip(reference(pixels[:size]), other(pixels[:size]), strict=True)
        found.append([np.abs(one - two).max() / min(1.0, np.abs(one).max()) for one, two in pairs])
    return Difference(*np.max(found, axis=0).tolist())


def check_same(what: str, difference: Difference) -> None:
    """CheckpointError for a difference above ``TOLERANCE``, and for one that is no number."""
    if not difference.largest <= TOLERANCE:
        raise CheckpointError(
            f"{what} differs from the run by {difference.logits:.1e} (logits) and {difference.maps:.1e} (maps), "
            f"expected at most {TOLERANCE:g}: nothing was written, evaluate the run itself instead"
        )


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of boxes with those of a reference, both for the class each predicts, in source pixels.

    iou: the mean, in [0, 1]; two that both found no box agree. same_class, same_box: shares of the pictures.
    """

    iou: float
    same_class: float
    same_box: float


def measure_agreement(reference: Outputs, other: Outputs, pictures: Pictures, threshold: float) -> Agreement:
    """See ``Agreement``. threshold: of the maps."""
    classes = [outputs.logits.argmax(axis=1) for outputs in (reference, other)]
    ious = []
    for index, (size_hw, field) in enumerate(zip(pictures.sizes_hw, pictures.fields, strict=True)):
        one, two = (
            _box(outputs.maps[index, labels[index]], size_hw, field, threshold)
            for outputs, labels in zip((reference, other), classes, strict=True)
        )
        ious.append(float(iou_half_open(one, two)[0, 0]) if len(one) and len(two) else float(len(one) == len(two)))
    return Agreement(float(np.mean(ious)), float(np.mean(classes[0] == classes[1])), float(np.mean(np.equal(ious, 1))))


def measure_scores(
    outputs: Outputs, pictures: Pictures, annotate: Annotate, protocol: Protocol, threshold: float
) -> dict[str, float | None]:
    """``SCORES`` in percent, as `cdtr evaluate` measures them under the protocol; None where there is no box."""
    tally = Tally(protocol, threshold)
    tally_answers([tally], _answers(outputs, pictures), annotate)
    metrics = tally.finish().metrics
    return {name: metrics[name] for name in SCORES}


def _answers(outputs: Outputs, pictures: Pictures) -> list[ImageAnswer]:
    probs = class_probabilities(outputs.logits)
    best = np.argsort(-outputs.logits, axis=1, kind="stable")[:, :5]
    return [
        ImageAnswer(
            sample=sample,
            size_hw=size_hw,
            label=sample.label,
            predicted=int(five[0]),
            prob=float(prob[five[0]]),
            in_top5=sample.label in five,
            label_map=maps[sample.label],
            predicted_map=maps[five[0]],
            field=field,
        )
        for sample, size_hw, field, five, prob, maps in zip(
            pictures.samples, pictures.sizes_hw, pictures.fields, best, probs, outputs.maps, strict=True
        )
    ]


def _box(coarse: FloatArray, size_hw: tuple[int, int], field: Field | None, threshold: float) -> BoxArray:
    return largest_box(normalise_maps(place_map(coarse, size_hw, field)), threshold)
