"""CutMix (Yun et al., ICCV 2019): CAM that learns from images with a part of another image pasted in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdtr.config import Config, Padding
from cdtr.config.modules.cam import CamConfig
from cdtr.config.modules.cutmix import CutmixConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.maps import class_loss
from cdtr.model.methods.cam import Cam
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"


class Cutmix(Cam):
    """CAM whose images are mixed two by two in training.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: The settings of CAM.
        mix: How often, and how much of an image is kept.
        padding: Padding at the image's border.
    """

    keeps_features = False

    def __init__(
        self, backbone: CnnBackbone, classes: int, config: CamConfig, mix: CutmixConfig, padding: Padding = "zeros"
    ) -> None:
        super().__init__(backbone, classes, config, padding)
        self.mix = mix

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and class maps as ``Cam``; of mixed images in training.

        Returns:
            In training ``aux`` has ``mix_share``, what an image keeps of itself, and ``mix_order`` (B,), the index of
            the image that the rest is of.
        """
        if not self.training or float(torch.rand(())) >= self.mix.share:
            return super().forward(images, auxiliary, levels)
        mixed, share, order = mix_images(images, self.mix.beta)
        aux = {"mix_share": torch.tensor(share, device=images.device), "mix_order": order}
        return self.output(self.features(mixed), aux)

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``cls``, the cross-entropy of both labels of a mixed image, each by its share of the pixels."""
        own = class_loss(output.logits, batch.labels, batch.weights)
        if "mix_order" not in output.aux:
            return {"cls": own}
        share, order = output.aux["mix_share"], output.aux["mix_order"]
        weights = None if batch.weights is None else batch.weights[order]
        return {"cls": share * own + (1 - share) * class_loss(output.logits, batch.labels[order], weights)}


def mix_images(images: Tensor, beta: float) -> tuple[Tensor, float, Tensor]:
    """Paste the same rectangle of another image of the batch into each image.

    Args:
        images: (B, 3, H, W).
        beta: Both parameters of the Beta distribution of the share of its own pixels that an image is to keep.

    Returns:
        The mixed images, the share that is kept once the rectangle is clipped to the image, and the order (B,) of the
        others.
    """
    height, width = images.shape[2:]
    wanted = float(torch.distributions.Beta(beta, beta).sample())
    order = torch.randperm(len(images)).to(images.device)
    half_h, half_w = height * (1 - wanted) ** 0.5 / 2, width * (1 - wanted) ** 0.5 / 2
    middle_y, middle_x = (float(value) for value in torch.rand(2) * torch.tensor([height, width]))
    top, bottom = max(round(middle_y - half_h), 0), min(round(middle_y + half_h), height)
    left, right = max(round(middle_x - half_w), 0), min(round(middle_x + half_w), width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width), order


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Cutmix:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Cutmix(backbone, classes, config.section(CamConfig), config.section(CutmixConfig), config.maps.padding)
