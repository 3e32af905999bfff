"""From pictures to localizations: the one place that turns a method's maps into boxes in source pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from cdtr.errors import CheckpointError, DataError
from cdtr.localization.boxes import BoxArray, check_area_share, component_boxes, largest_box
from cdtr.localization.maps import class_maps, normalise_maps, resize_map
from cdtr.records import FloatArray, Localization, Method, ModelOutput


class Predictor:
    """A method with what it needs to answer for pictures of any size.

    transform: evaluation transform, an RGB picture to (3, H, W). threshold: share of the map's maximum, from
    calibration. multi: boxes of every component whose pixels are at least ``min_area_share`` of the picture's, not of
    the largest alone. top_k: the number of classes, most probable first, whose maps are searched.
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
    ) -> None:
        if not 0 <= threshold < 1:
            raise DataError(f"map threshold {threshold}: expected a number from 0 up to 1, run `cdtr calibrate`")
        if top_k < 1:
            raise DataError(f"top_k {top_k}: expected at least one class")
        check_area_share(min_area_share)
        self.method = method
        self.transform = transform
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.device = torch.device(device)
        self.multi = multi
        self.min_area_share = min_area_share
        self.top_k = top_k
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
        batch = torch.stack([self.transform(_rgb(image)) for image in images]).to(self.device)
        return self.method(batch, auxiliary=False)

    def localize(
        self,
        output: ModelOutput,
        images: Sequence[Image.Image],
        image_ids: Sequence[str],
        labels: Sequence[int] | None = None,
    ) -> list[Localization]:
        """Localizations from what ``forward`` answered for the same pictures."""
        chosen, probabilities, maps = self._choose(output, labels)
        sizes_hw = [(image.height, image.width) for image in images]
        return [
            self._localize(image_id, size_hw, *parts)
            for image_id, size_hw, *parts in zip(image_ids, sizes_hw, chosen, probabilities, maps, strict=True)
        ]

    @torch.inference_mode()
    def _choose(self, output: ModelOutput, labels: Sequence[int] | None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Chosen classes (B, K), probabilities (B, C) and maps (B, K, h, w) of the chosen classes."""
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
        maps = class_maps(output, chosen)
        return chosen.cpu().numpy(), probabilities.cpu().numpy(), maps.float().cpu().numpy()

    def _localize(
        self,
        image_id: str,
        size_hw: tuple[int, int],
        chosen: FloatArray,
        probabilities: FloatArray,
        maps: FloatArray,
    ) -> Localization:
        source_maps = [normalise_maps(resize_map(coarse, size_hw)) for coarse in maps]
        found = [self._boxes(source_map) for source_map in source_maps]
        labels = np.repeat(chosen, [len(boxes) for boxes in found]).astype(np.int64)
        return Localization(
            image_id=image_id,
            size_hw=size_hw,
            boxes_xyxy=np.concatenate(found).astype(np.float32),
            labels=labels,
            scores=probabilities[labels].astype(np.float32),
            map=source_maps[0].astype(np.float32),
            map_label=int(chosen[0]),
            class_probs=probabilities.astype(np.float32),
            class_names=self.class_names,
        )

    def _boxes(self, score_map: FloatArray) -> BoxArray:
        if self.multi:
            return component_boxes(score_map, self.threshold, self.min_area_share)
        return largest_box(score_map, self.threshold)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode != "RGB":
        raise DataError(f"picture of mode {image.mode}: expected RGB, convert it with image.convert('RGB')")
    return image
