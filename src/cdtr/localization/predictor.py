"""From pictures to localizations: the one place that turns a method's maps into boxes in source pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from cdtr.errors import CheckpointError, DataError
from cdtr.localization.boxes import BoxArray, check_area_share, component_boxes, component_masks, largest_box
from cdtr.localization.maps import class_maps, mirrored_maps, normalise_maps, resize_map
from cdtr.localization.quality import BoxQuality, box_features
from cdtr.records import FloatArray, Localization, Method, ModelOutput, UInt8Array

# A box is scored in a map of this size, as in evaluation: it hardly matters, but large pictures would cost time.
_SCORED_HW = (224, 224)


class _Parts(NamedTuple):
    """What a method answered for one picture.

    chosen: (K,) classes. probabilities: (C,). maps: (K, h, w) of the chosen classes. mirrored: the same of the mirrored
    picture, mirrored back, where the boxes' scores need it.
    """

    chosen: npt.NDArray[np.int64]
    probabilities: FloatArray
    maps: FloatArray
    mirrored: FloatArray | None


class Predictor:
    """A method with what it needs to answer for pictures of any size.

    transform: evaluation transform, an RGB picture to (3, H, W). threshold: share of the map's maximum, from
    calibration. multi: boxes of every component whose pixels are at least ``min_area_share`` of the picture's, not of
    the largest alone. top_k: the number of classes, most probable first, whose maps are searched. quality: scores
    the boxes; fitted on the largest box of the most probable class, and for others an extrapolation. min_score: boxes
    of a lower score are left out, which needs ``quality``. masks: answer the boxes' regions as well.
    """

    def __init__(
        self,
        method: Method,
        transform: Callable[[Image.Image], Tensor],
        class_names: Sequence[str],
        threshold: float,
        device: torch.device | str = "cpu",
        multi: bool = False,
        min_area_share: float = 0.01,
        top_k: int = 1,
        quality: BoxQuality | None = None,
        min_score: float = 0.0,
        masks: bool = False,
    ) -> None:
        if not 0 <= threshold < 1:
            raise DataError(f"map threshold {threshold}: expected a number from 0 up to 1, run `cdtr calibrate`")
        if top_k < 1:
            raise DataError(f"top_k {top_k}: expected at least one class")
        check_area_share(min_area_share)
        if not 0 <= min_score <= 1:
            raise DataError(f"smallest score {min_score}: expected a probability from 0 to 1")
        if min_score > 0 and quality is None:
            raise DataError(
                "no scores of boxes to choose by: run `cdtr calibrate` with boxes first, or leave min_score out"
            )
        self.method = method
        self.transform = transform
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.device = torch.device(device)
        self.multi = multi
        self.min_area_share = min_area_share
        self.top_k = top_k
        self.quality = quality
        self.min_score = min_score
        self.masks = masks
        if isinstance(method, nn.Module):
            method.to(self.device).eval()

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], labels: Sequence[int] | None = None
    ) -> list[Localization]:
        """Localize RGB pictures in one forward pass; with ``labels``, the object of that class in each picture."""
        if len(images) != len(image_ids) or (labels is not None and len(labels) != len(images)):
            raise DataError(
                f"{len(images)} images, {len(image_ids)} image ids, "
                f"{'no' if labels is None else len(labels)} labels: expected one of each an image"
            )
        return self.localize(self.forward(images), images, image_ids, labels) if images else []

    @torch.inference_mode()
    def forward(self, images: Sequence[Image.Image]) -> ModelOutput:
        """What the method answers for RGB pictures."""
        return self.method(self._stack(images), auxiliary=False)

    def localize(
        self,
        output: ModelOutput,
        images: Sequence[Image.Image],
        image_ids: Sequence[str],
        labels: Sequence[int] | None = None,
    ) -> list[Localization]:
        """Localizations from what ``forward`` answered for the same pictures."""
        return [
            self._localize(image_id, (image.height, image.width), parts)
            for image_id, image, parts in zip(image_ids, images, self._choose(output, images, labels), strict=True)
        ]

    def _stack(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([self.transform(_rgb(image)) for image in images]).to(self.device)

    @torch.inference_mode()
    def _choose(self, output: ModelOutput, images: Sequence[Image.Image], labels: Sequence[int] | None) -> list[_Parts]:
        """What is needed of each picture."""
        probabilities = output.logits.float().softmax(dim=1)
        n_classes = probabilities.shape[1]
        if self.class_names and n_classes != len(self.class_names):
            raise CheckpointError(
                f"the method has {n_classes} classes, {len(self.class_names)} names were given: use those of its run"
            )
        if labels is None:
            chosen = probabilities.topk(min(self.top_k, n_classes), dim=1).indices
        else:
            chosen = torch.as_tensor(labels, dtype=torch.int64)[:, None]
        maps = class_maps(output, chosen).float().cpu().numpy()
        mirrored: Sequence[FloatArray | None] = [None] * len(maps)
        if self.quality is not None and self.quality.mirrored:
            mirrored = list(mirrored_maps(self.method, self._stack(images), chosen).cpu().numpy())
        columns = chosen.cpu().numpy(), probabilities.cpu().numpy(), maps, mirrored
        return [_Parts(*parts) for parts in zip(*columns, strict=True)]

    def _localize(self, image_id: str, size_hw: tuple[int, int], parts: _Parts) -> Localization:
        source_maps = [normalise_maps(resize_map(coarse, size_hw)) for coarse in parts.maps]
        found = [self._boxes(source_map) for source_map in source_maps]
        boxes = np.concatenate(found).astype(np.float32)
        which = np.repeat(np.arange(len(parts.chosen)), [len(some) for some in found])
        labels = parts.chosen[which].astype(np.int64)
        scores, doubts = parts.probabilities[labels].astype(np.float32), None
        if self.quality is not None:
            scores, doubts = self._score(self.quality, size_hw, boxes, which, parts)
            kept = scores >= self.min_score
            boxes, labels, scores, which = boxes[kept], labels[kept], scores[kept], which[kept]
            doubts = tuple(some for some, keep in zip(doubts, kept, strict=True) if keep)
        return Localization(
            image_id=image_id,
            size_hw=size_hw,
            boxes_xyxy=boxes,
            labels=labels,
            scores=scores,
            map=source_maps[0].astype(np.float32),
            map_label=int(parts.chosen[0]),
            class_probs=parts.probabilities.astype(np.float32),
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
        parts: _Parts,
    ) -> tuple[FloatArray, tuple[tuple[str, ...], ...]]:
        """Scores (N,) and doubts of boxes (N, 4), each found in the map ``which`` (N,) of the chosen classes."""
        frames = [normalise_maps(resize_map(coarse, _SCORED_HW)) for coarse in parts.maps]
        turned: Sequence[FloatArray | None] = [None] * len(frames)
        if parts.mirrored is not None:
            turned = [normalise_maps(resize_map(coarse, _SCORED_HW)) for coarse in parts.mirrored]
        scaled = boxes * np.tile([_SCORED_HW[1] / size_hw[1], _SCORED_HW[0] / size_hw[0]], 2)
        scores, doubts = [], []
        for box, index in zip(scaled, which, strict=True):
            label = int(parts.chosen[index])
            prob = float(parts.probabilities[label])
            features = box_features(frames[index], box, prob, self.threshold, turned[index])
            scores.append(quality.score(features, label))
            doubts.append(quality.doubts(features, label))
        return np.array(scores, dtype=np.float32), tuple(doubts)

    def _boxes(self, score_map: FloatArray) -> BoxArray:
        if self.multi:
            return component_boxes(score_map, self.threshold, self.min_area_share)
        return largest_box(score_map, self.threshold)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode != "RGB":
        raise DataError(f"picture of mode {image.mode}: expected RGB, convert it with image.convert('RGB')")
    return image
