"""Attention and auxiliary maps of a method for each image of a loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cdtr.evaluation.forward import in_evaluation
from cdtr.records import Batch, Field, FloatArray, Method, Sample


@dataclass(frozen=True, slots=True)
class ImageMaps:
    """Maps of a method for one image, float32 on the CPU.

    Attributes:
        sample: The image.
        size_hw: Height and width of the source image.
        predicted: Index of the class with the largest logit.
        attention: (h, w) ``M*_ca`` of Eq. 5.
        class_maps: (C, h, w) ``X_out``, whose mean over the patches is the logits; None if the method has none.
        pseudo_map: (h, w) ``M_ocm`` of OCM; None if the method has none.
        field: Part of the image that the maps cover; None for all of it.
    """

    sample: Sample
    size_hw: tuple[int, int]
    predicted: int
    attention: FloatArray
    class_maps: FloatArray | None = None
    pseudo_map: FloatArray | None = None
    field: Field | None = None


def image_maps(method: Method, batches: Iterable[Batch], device: torch.device | str) -> Iterator[ImageMaps]:
    """Run the method in evaluation mode over the batches.

    Args:
        method: A module's mode is restored afterwards.
        batches: Of an evaluation loader.
        device: Where the method runs; it is moved there.

    Yields:
        The maps of each image, in the order of the batches.
    """
    with in_evaluation(method, device):
        for batch in batches:
            with torch.inference_mode():
                output = method(batch.images.to(device, non_blocking=True), auxiliary=False)
            class_maps, pseudo = (
                None if (found := output.aux.get(name)) is None else _numpy(found) for name in ("x_out", "m_ocm")
            )
            attention, predicted = _numpy(output.attention), output.logits.argmax(dim=1).tolist()
            for index, sample in enumerate(batch.samples):
                yield ImageMaps(
                    sample=sample,
                    size_hw=batch.sizes_hw[index],
                    predicted=predicted[index],
                    attention=attention[index],
                    class_maps=None if class_maps is None else class_maps[index],
                    pseudo_map=None if pseudo is None else pseudo[index],
                    field=batch.field_of(index),
                )


def _numpy(values: Tensor) -> FloatArray:
    found: FloatArray = values.float().cpu().numpy()
    return found
