"""From pictures to localizations with PyTorch: runs a method, and hands its maps to the finder of boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from cdtr.localization.finder import BoxFinder, check_pictures
from cdtr.localization.maps import check_outputs, class_maps, mirrored_maps
from cdtr.records import Field, FloatArray, Localization, Method, ModelOutput


class Predictor:
    """A method with what it needs to answer for pictures of any size.

    transform: evaluation transform, an RGB image to (3, H, W). field: the part of an image of that height and width
    which the transform shows, None for all of it. finder: the rules that turn maps into boxes.
    half: compute in 16 bits, float16 on CUDA, else bfloat16; probabilities and maps are float32 all the same.
    """

    def __init__(
        self,
        method: Method,
        transform: Callable[[Image.Image], Tensor],
        finder: BoxFinder,
        device: torch.device | str = "cpu",
        half: bool = False,
        field: Callable[[tuple[int, int]], Field | None] = lambda _size_hw: None,
    ) -> None:
        self.method = method
        self.transform = transform
        self.finder = finder
        self.device = torch.device(device)
        self.half = half
        self.field = field
        if isinstance(method, nn.Module):
            method.to(self.device).eval()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.finder.class_names

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], labels: Sequence[int] | None = None
    ) -> list[Localization]:
        """Localize RGB pictures in one forward pass; with ``labels``, the object of that class in each picture."""
        check_pictures(images, image_ids, labels)
        return self.localize(self.forward(images), images, image_ids, labels) if images else []

    @torch.inference_mode()
    def forward(self, images: Sequence[Image.Image]) -> ModelOutput:
        """What the method answers for RGB pictures."""
        with self._precision():
            return self.method(self._stack(images), auxiliary=False)

    @torch.inference_mode()
    def localize(
        self,
        output: ModelOutput,
        images: Sequence[Image.Image],
        image_ids: Sequence[str],
        labels: Sequence[int] | None = None,
    ) -> list[Localization]:
        """Localizations from what ``forward`` answered for the same pictures."""
        check_outputs(output.logits.float(), output.maps.float())
        choice = self.finder.choose(output.logits.float().cpu().numpy(), labels)
        chosen = torch.from_numpy(choice.classes)
        maps = class_maps(output, chosen).float().cpu().numpy()
        mirrored: FloatArray | None = None
        if self.finder.mirrored:
            with self._precision():
                mirrored = mirrored_maps(self.method, self._stack(images), chosen).float().cpu().numpy()
        fields = [self.field((image.height, image.width)) for image in images]
        return self.finder.find(images, image_ids, choice, maps, mirrored, fields)

    def _precision(self) -> torch.autocast:
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.half)

    def _stack(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([self.transform(image) for image in images]).to(self.device)
