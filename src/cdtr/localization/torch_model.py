"""A localization method in PyTorch behind the protocol ``LocalizationModel``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from cdtr.localization.maps import check_outputs, class_maps, mirrored_maps
from cdtr.localization.prediction import RawPrediction, SelectClasses
from cdtr.records import Field, FloatArray, Method, ModelOutput


class TorchModel:
    """A method with what it needs to predict the maps of images of any size.

    Args:
        network: the method that runs; moved to ``device`` and put into evaluation mode.
        transform: turns an RGB image into a normalised tensor (3, H, W).
        class_names: the classes in the order of the logits.
        device: where the method runs.
        half: compute in 16 bits, float16 on CUDA and bfloat16 elsewhere; logits and maps are float32 all the same.
        field: the part that the transform shows of an image of a height and width, None for all of it.
        max_pixels: larger images are refused.
        batch_size: images in one forward pass where the caller does not say.
        workers: forward passes that run at a time.
    """

    def __init__(
        self,
        network: Method,
        transform: Callable[[Image.Image], Tensor],
        class_names: tuple[str, ...],
        device: torch.device | str = "cpu",
        *,
        half: bool = False,
        field: Callable[[tuple[int, int]], Field | None] = lambda _size_hw: None,
        max_pixels: int = 178_000_000,
        batch_size: int = 8,
        workers: int = 1,
    ) -> None:
        self.network = network
        self.transform = transform
        self.class_names = class_names
        self.device = torch.device(device)
        self.half = half
        self.field = field
        self.max_pixels = max_pixels
        self.batch_size = batch_size
        self.workers = workers
        if isinstance(network, nn.Module):
            network.to(self.device).eval()

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], select: SelectClasses, mirrored: bool = False
    ) -> RawPrediction:
        """Predict the maps of RGB images; see ``LocalizationModel``."""
        return self.select_maps(self.forward(images), images, select, mirrored)

    @torch.inference_mode()
    def forward(self, images: Sequence[Image.Image]) -> ModelOutput:
        """Run the method on RGB images."""
        if isinstance(self.network, nn.Module) and self.network.training:
            self.network.eval()  # a caller may have trained it since
        with self._precision():
            return self.network(self._stack(images), auxiliary=False)

    @torch.inference_mode()
    def select_maps(
        self, output: ModelOutput, images: Sequence[Image.Image], select: SelectClasses, mirrored: bool = False
    ) -> RawPrediction:
        """Return the maps of the selected classes from the output of ``forward`` for the same images.

        Raises:
            CheckpointError: logits or maps are not finite.
        """
        check_outputs(output.logits.float(), output.maps.float())
        selection = select(output.logits.float().cpu().numpy())
        selected = torch.from_numpy(selection.classes)
        maps: FloatArray = class_maps(output, selected).float().cpu().numpy()
        of_mirrored: FloatArray | None = None
        if mirrored:
            with self._precision():
                of_mirrored = mirrored_maps(self.network, self._stack(images), selected).float().cpu().numpy()
        return RawPrediction(
            selection,
            list(maps),
            None if of_mirrored is None else list(of_mirrored),
            [self.field((image.height, image.width)) for image in images],
        )

    def _precision(self) -> torch.autocast:
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.half)

    def _stack(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([self.transform(image) for image in images]).to(self.device)
