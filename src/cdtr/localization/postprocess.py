"""Turns the maps that a model predicts into boxes, scores and masks. NumPy and OpenCV alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cdtr.errors import CheckpointError, DataError
from cdtr.localization.boxes import BoxArray, component_masks, largest_box, scored_components
from cdtr.localization.maps import normalise_maps, place_map
from cdtr.localization.options import DEFAULT_OPTIONS, LocalizeOptions
from cdtr.localization.prediction import ClassSelection, RawPrediction
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import BoxQuality, box_features
from cdtr.records import Field, FloatArray, Localization, UInt8Array

# A box is scored in a map of this size, as in evaluation: it hardly matters, but large images would cost time.
SCORED_HW = (224, 224)


class _ImagePrediction(NamedTuple):
    """One image of a ``RawPrediction``: classes (K,), probabilities (C,), maps (K, h, w), boxed (K,)."""

    classes: npt.NDArray[np.int64]
    probabilities: FloatArray
    maps: FloatArray
    mirrored: FloatArray | None
    field: Field | None
    boxed: npt.NDArray[np.bool_]
    object_prob: float | None

    def placed(self, maps: FloatArray, size_hw: tuple[int, int], source_hw: tuple[int, int]) -> list[FloatArray]:
        """Place maps (K, h, w) of this image, of ``source_hw`` pixels, at ``size_hw``, each scaled to [0, 1]."""
        return [normalise_maps(place_map(coarse, size_hw, self.field, source_hw)) for coarse in maps]


@dataclass(frozen=True, slots=True)
class MapPostProcessor:
    """Turns predicted maps into localizations.

    Attributes:
        class_names: the classes in the order of the logits.
        threshold: share of a map's maximum that a box's region exceeds, in [0, 1).
        options: what the caller chose; its threshold and label do not count here.
        quality: scores the boxes, where the run was calibrated with boxes. It was fitted on the largest box of the most
            probable class, and extrapolates for others.
        empty: the classes without an object, which get no box; None where every class has one.

    Raises:
        DataError: the threshold is out of range, or ``options.min_score`` is above 0 without ``quality``.
    """

    class_names: tuple[str, ...]
    threshold: float
    options: LocalizeOptions = DEFAULT_OPTIONS
    quality: BoxQuality | None = None
    empty: EmptyClasses | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise DataError(f"map threshold {self.threshold}: expected a number from 0 up to 1, run `cdtr calibrate`")
        if self.options.min_score > 0 and self.quality is None:
            raise DataError(
                "no scores of boxes to choose by: run `cdtr calibrate` with boxes first, or leave min_score out"
            )

    @property
    def needs_mirrored(self) -> bool:
        """Whether the maps of the mirrored images are needed."""
        return self.quality is not None and self.quality.mirrored

    def select_classes(self, logits: FloatArray, labels: Sequence[int] | None = None) -> ClassSelection:
        """Select the classes to search.

        Args:
            logits: (B, C).
            labels: B classes, one an image; by default the ``options.top_k`` most probable ones. A class without an
                object gets no box either way; where a class is given, the image is taken to be of it.

        Raises:
            CheckpointError: the logits are of another number of classes than there are names.
            DataError: a label is out of range.
        """
        n_images, n_classes = logits.shape
        if self.class_names and n_classes != len(self.class_names):
            raise CheckpointError(
                f"the method has {n_classes} classes, {len(self.class_names)} names were given: use those of its run"
            )
        probabilities = class_probabilities(logits)
        if labels is None:
            return self._select_probable(logits, probabilities)
        classes = np.asarray(labels, dtype=np.int64).reshape(n_images, 1)
        if n_images and not 0 <= classes.min() <= classes.max() < n_classes:
            raise DataError(
                f"labels from {classes.min()} to {classes.max()}, the method has maps of {n_classes} classes: "
                "use data with the classes that it was trained on"
            )
        if self.empty is None:
            return ClassSelection(classes, probabilities)
        object_probs = self.empty.object_probability(probabilities)
        return ClassSelection(classes, probabilities, ~self.empty.is_empty(classes), object_probs)

    def _select_probable(self, logits: FloatArray, probabilities: FloatArray) -> ClassSelection:
        ranked = np.argsort(-logits, axis=1, kind="stable")
        if self.empty is None:
            return ClassSelection(ranked[:, : self.options.top_k], probabilities)
        has_object = self.empty.has_object(probabilities)
        classes = self.empty.reorder(ranked, has_object)[:, : self.options.top_k]
        boxed = has_object[:, None] & ~self.empty.is_empty(classes)
        return ClassSelection(classes, probabilities, boxed, self.empty.object_probability(probabilities))

    def process(
        self, prediction: RawPrediction, image_ids: Sequence[str], sizes_hw: Sequence[tuple[int, int]]
    ) -> list[Localization]:
        """Return the localizations of B images of the given ids and sizes in pixels."""
        selection = prediction.selection
        mirrored = [None] * len(image_ids) if prediction.mirrored is None else prediction.mirrored
        boxed = np.ones(selection.classes.shape, dtype=bool) if selection.boxed is None else selection.boxed
        object_probs = [None] * len(image_ids) if selection.object_probs is None else selection.object_probs.tolist()
        of_classes = selection.classes, selection.probabilities, prediction.maps, mirrored, prediction.fields
        images = zip(*of_classes, boxed, object_probs, strict=True)
        return [
            self._localize(image_id, size_hw, _ImagePrediction(*parts))
            for image_id, size_hw, parts in zip(image_ids, sizes_hw, images, strict=True)
        ]

    def _localize(self, image_id: str, size_hw: tuple[int, int], predicted: _ImagePrediction) -> Localization:
        source_maps = predicted.placed(predicted.maps, size_hw, size_hw)
        nothing = np.zeros((0, 4), dtype=np.float32), np.zeros(0)
        searched = zip(source_maps, predicted.boxed, strict=True)
        found = [self._boxes(one) if boxed else nothing for one, boxed in searched]
        boxes = np.concatenate([some for some, _ in found]).astype(np.float32)
        which = np.repeat(np.arange(len(predicted.classes)), [len(some) for some, _ in found])
        labels = predicted.classes[which].astype(np.int64)
        strengths = np.concatenate([strength for _, strength in found])
        scores, doubts = (predicted.probabilities[labels] * strengths).astype(np.float32), None
        if self.quality is not None:
            scores, doubts = self._score(self.quality, size_hw, boxes, which, predicted)
            kept = scores >= self.options.min_score
            boxes, labels, scores, which = boxes[kept], labels[kept], scores[kept], which[kept]
            doubts = tuple(some for some, keep in zip(doubts, kept, strict=True) if keep)
        return Localization(
            image_id=image_id,
            size_hw=size_hw,
            boxes_xyxy=boxes,
            labels=labels,
            scores=scores,
            map=source_maps[0].astype(np.float32, copy=False),
            map_label=int(predicted.classes[0]),
            class_probs=predicted.probabilities.astype(np.float32),
            class_names=self.class_names,
            doubts=doubts,
            masks=self._masks(source_maps, boxes, which) if self.options.masks else None,
            object_prob=predicted.object_prob,
            empty=not predicted.boxed.any(),
        )

    def _masks(self, source_maps: Sequence[FloatArray], boxes: FloatArray, which: npt.NDArray[np.int64]) -> UInt8Array:
        """Regions (N, H, W) of boxes (N, 4), each found in the map ``which`` (N,); boxes of a map follow each other."""
        found = [component_masks(one, self.threshold, boxes[which == index]) for index, one in enumerate(source_maps)]
        return np.concatenate(found)

    def _score(
        self,
        quality: BoxQuality,
        size_hw: tuple[int, int],
        boxes: FloatArray,
        which: npt.NDArray[np.int64],
        predicted: _ImagePrediction,
    ) -> tuple[FloatArray, tuple[tuple[str, ...], ...]]:
        """Scores (N,) and doubts of boxes (N, 4), each found in the map ``which`` (N,) of the selected classes."""
        frames = predicted.placed(predicted.maps, SCORED_HW, size_hw)
        turned: Sequence[FloatArray | None] = [None] * len(frames)
        if predicted.mirrored is not None:
            turned = predicted.placed(predicted.mirrored, SCORED_HW, size_hw)
        scaled = boxes * np.tile([SCORED_HW[1] / size_hw[1], SCORED_HW[0] / size_hw[0]], 2)
        scores, doubts = [], []
        for box, index in zip(scaled, which, strict=True):
            label = int(predicted.classes[index])
            prob = float(predicted.probabilities[label])
            features = box_features(frames[index], box, prob, self.threshold, turned[index])
            scores.append(quality.score(features, label))
            doubts.append(quality.doubts(features, label))
        return np.array(scores, dtype=np.float32), tuple(doubts)

    def _boxes(self, score_map: FloatArray) -> tuple[BoxArray, FloatArray]:
        """Boxes (N, 4) and what the class probability is multiplied by in their scores, (N,) in [0, 1]."""
        if self.options.multi:  # the probability alone would score all regions of an image alike
            return scored_components(score_map, self.threshold, self.options.min_area_share)
        boxes = largest_box(score_map, self.threshold)
        return boxes, np.ones(len(boxes))


def class_probabilities(logits: FloatArray) -> FloatArray:
    """Return the softmax (B, C) of logits (B, C)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
