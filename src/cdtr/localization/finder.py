"""From one picture's maps to its localization, whatever computed them. NumPy and OpenCV alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.errors import CheckpointError, DataError
from cdtr.localization.boxes import BoxArray, check_area_share, component_boxes, component_masks, largest_box
from cdtr.localization.maps import normalise_maps, place_map
from cdtr.localization.quality import BoxQuality, box_features
from cdtr.records import Field, FloatArray, Localization, UInt8Array

# A box is scored in a map of this size, as in evaluation: it hardly matters, but large pictures would cost time.
_SCORED_HW = (224, 224)


class Choice(NamedTuple):
    """The classes whose maps are searched, (B, K), and the probabilities of all, (B, C)."""

    classes: npt.NDArray[np.int64]
    probabilities: FloatArray


class Answer(NamedTuple):
    """What a network answered for one picture.

    chosen: (K,) classes. probabilities: (C,). maps: (K, h, w) of the chosen classes. mirrored: the same of the mirrored
    picture, mirrored back, where the boxes' scores need it. field: the part of the image that the maps cover, None for
    all of it.
    """

    chosen: npt.NDArray[np.int64]
    probabilities: FloatArray
    maps: FloatArray
    mirrored: FloatArray | None
    field: Field | None = None

    def placed(self, maps: FloatArray, size_hw: tuple[int, int], source_hw: tuple[int, int]) -> list[FloatArray]:
        """Maps (K, h, w) of this image, of ``source_hw`` pixels, at ``size_hw`` and within [0, 1]."""
        return [normalise_maps(place_map(coarse, size_hw, self.field, source_hw)) for coarse in maps]


@dataclass(frozen=True, slots=True)
class BoxFinder:
    """The rules that turn maps into boxes.

    threshold: share of the map's maximum, from calibration. multi: boxes of every component whose pixels are at least
    ``min_area_share`` of the picture's, not of the largest alone. top_k: the number of classes, most probable first,
    whose maps are searched. quality: scores the boxes; fitted on the largest box of the most probable class, and for
    others an extrapolation. min_score: boxes of a lower score are left out, which needs ``quality``. masks: answer the
    boxes' regions as well.
    """

    class_names: tuple[str, ...]
    threshold: float
    multi: bool = False
    min_area_share: float = 0.01
    top_k: int = 1
    quality: BoxQuality | None = None
    min_score: float = 0.0
    masks: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise DataError(f"map threshold {self.threshold}: expected a number from 0 up to 1, run `cdtr calibrate`")
        if self.top_k < 1:
            raise DataError(f"top_k {self.top_k}: expected at least one class")
        check_area_share(self.min_area_share)
        if not 0 <= self.min_score <= 1:
            raise DataError(f"smallest score {self.min_score}: expected a probability from 0 to 1")
        if self.min_score > 0 and self.quality is None:
            raise DataError(
                "no scores of boxes to choose by: run `cdtr calibrate` with boxes first, or leave min_score out"
            )

    @property
    def mirrored(self) -> bool:
        """Whether an answer needs the maps of the mirrored picture."""
        return self.quality is not None and self.quality.mirrored

    def choose(self, logits: FloatArray, labels: Sequence[int] | None = None) -> Choice:
        """The classes to search for logits (B, C): the most probable ones, or those of ``labels``, one a picture."""
        n_images, n_classes = logits.shape
        if self.class_names and n_classes != len(self.class_names):
            raise CheckpointError(
                f"the method has {n_classes} classes, {len(self.class_names)} names were given: use those of its run"
            )
        probabilities = class_probabilities(logits)
        if labels is None:
            return Choice(np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k], probabilities)
        classes = np.asarray(labels, dtype=np.int64).reshape(n_images, 1)
        if n_images and not 0 <= classes.min() <= classes.max() < n_classes:
            raise DataError(
                f"labels from {classes.min()} to {classes.max()}, the method has maps of {n_classes} classes: "
                "use data with the classes that it was trained on"
            )
        return Choice(classes, probabilities)

    def find(
        self,
        images: Sequence[Image.Image],
        image_ids: Sequence[str],
        choice: Choice,
        maps: FloatArray,
        mirrored: FloatArray | None = None,
        fields: Sequence[Field | None] | None = None,
    ) -> list[Localization]:
        """The localizations of images from the chosen classes' maps (B, K, h, w); mirrored, fields: see ``Answer``."""
        turned: Sequence[FloatArray | None] = [None] * len(images) if mirrored is None else list(mirrored)
        seen = [None] * len(images) if fields is None else fields
        answers = zip(choice.classes, choice.probabilities, maps, turned, seen, strict=True)
        return [
            self.localize(image_id, (image.height, image.width), Answer(*parts))
            for image_id, image, parts in zip(image_ids, images, answers, strict=True)
        ]

    def localize(self, image_id: str, size_hw: tuple[int, int], answer: Answer) -> Localization:
        """The localization of a picture of ``size_hw`` pixels."""
        source_maps = answer.placed(answer.maps, size_hw, size_hw)
        found = [self._boxes(source_map) for source_map in source_maps]
        boxes = np.concatenate(found).astype(np.float32)
        which = np.repeat(np.arange(len(answer.chosen)), [len(some) for some in found])
        labels = answer.chosen[which].astype(np.int64)
        scores, doubts = answer.probabilities[labels].astype(np.float32), None
        if self.quality is not None:
            scores, doubts = self._score(self.quality, size_hw, boxes, which, answer)
            kept = scores >= self.min_score
            boxes, labels, scores, which = boxes[kept], labels[kept], scores[kept], which[kept]
            doubts = tuple(some for some, keep in zip(doubts, kept, strict=True) if keep)
        return Localization(
            image_id=image_id,
            size_hw=size_hw,
            boxes_xyxy=boxes,
            labels=labels,
            scores=scores,
            map=source_maps[0].astype(np.float32, copy=False),
            map_label=int(answer.chosen[0]),
            class_probs=answer.probabilities.astype(np.float32),
            class_names=self.class_names,
            doubts=doubts,
            masks=self._masks(source_maps, boxes, which) if self.masks else None,
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
        answer: Answer,
    ) -> tuple[FloatArray, tuple[tuple[str, ...], ...]]:
        """Scores (N,) and doubts of boxes (N, 4), each found in the map ``which`` (N,) of the chosen classes."""
        frames = answer.placed(answer.maps, _SCORED_HW, size_hw)
        turned: Sequence[FloatArray | None] = [None] * len(frames)
        if answer.mirrored is not None:
            turned = answer.placed(answer.mirrored, _SCORED_HW, size_hw)
        scaled = boxes * np.tile([_SCORED_HW[1] / size_hw[1], _SCORED_HW[0] / size_hw[0]], 2)
        scores, doubts = [], []
        for box, index in zip(scaled, which, strict=True):
            label = int(answer.chosen[index])
            prob = float(answer.probabilities[label])
            features = box_features(frames[index], box, prob, self.threshold, turned[index])
            scores.append(quality.score(features, label))
            doubts.append(quality.doubts(features, label))
        return np.array(scores, dtype=np.float32), tuple(doubts)

    def _boxes(self, score_map: FloatArray) -> BoxArray:
        if self.multi:
            return component_boxes(score_map, self.threshold, self.min_area_share)
        return largest_box(score_map, self.threshold)


def class_probabilities(logits: FloatArray) -> FloatArray:
    """The softmax of logits (B, C)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def check_pictures(
    images: Sequence[Image.Image], image_ids: Sequence[str], labels: Sequence[int] | None = None
) -> None:
    """DataError unless the pictures are RGB, and there is an id, and a label if there are any, for each."""
    if len(images) != len(image_ids) or (labels is not None and len(labels) != len(images)):
        raise DataError(
            f"{len(images)} images, {len(image_ids)} image ids, "
            f"{'no' if labels is None else len(labels)} labels: expected one of each an image"
        )
    for image in images:
        if image.mode != "RGB":
            raise DataError(f"picture of mode {image.mode}: expected RGB, convert it with image.convert('RGB')")
