"""ACoL, Adversarial Complementary Learning (Zhang et al., CVPR 2018).

A second classifier gets the features without the place where the map of the first one is high, so that it has to know
the class by something else; the map is the larger of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import Config, Padding
from cdtr.config.modules.acol import AcolConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import CnnMethod, neck_layers, of_labels, strength
from cdtr.model.maps import class_loss, pooled_logits, scale_maps
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"


class Acol(CnnMethod):
    """Two classifiers, of which the second one does without the place of the first.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: The settings of ACoL.
        padding: Padding at the image's border.
    """

    def __init__(self, backbone: CnnBackbone, classes: int, config: AcolConfig, padding: Padding = "zeros") -> None:
        super().__init__(backbone)
        self.config = config
        self.first, self.second = (
            nn.Sequential(neck_layers(backbone.dim, config.width, 2, padding), nn.Conv2d(config.width, classes, 1))
            for _ in range(2)
        )

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores of the first classifier, and the larger of both classifiers' maps.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Not used.
            levels: What ``backbone.levels`` returned for the images, if that is known already.

        Returns:
            ``maps`` (B, C, h, w) in [0, 1]. The second classifier does without the place of the predicted class; in
            training, where ``losses`` runs it without that of the label, the maps are those of the first.
        """
        features = self.backbone(images, levels)[-1]
        pooled = F.avg_pool2d(features, 3, stride=1, padding=1) if self.config.pool else features
        x_out: Tensor = self.first(pooled).float()
        logits, attention = pooled_logits(x_out), strength(features, self.backbone.rectified)
        if self.training:
            return ModelOutput(logits, scale_maps(x_out), attention, {"x_out": x_out, "features": pooled})
        x_b = self.erased_maps(pooled, x_out, logits.argmax(dim=1))
        maps = torch.maximum(scale_maps(x_out), scale_maps(x_b))
        return ModelOutput(logits, maps, attention, {"x_out": x_out, "x_b": x_b, "logit_b": pooled_logits(x_b)})

    def erased_maps(self, features: Tensor, x_out: Tensor, labels: Tensor) -> Tensor:
        """Class maps (B, C, h, w) of the second classifier, without the place of ``labels`` in the first one's."""
        seen = scale_maps(of_labels(x_out.detach(), labels)) < self.config.threshold
        found: Tensor = self.second(features * seen[:, None].to(features.dtype)).float()
        return found

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy of both classifiers, ``cls`` and ``adversary``."""
        aux, labels = output.aux, batch.labels
        x_b = aux["x_b"] if "features" not in aux else self.erased_maps(aux["features"], aux["x_out"], labels)
        return {
            "cls": class_loss(output.logits, labels, batch.weights),
            "adversary": class_loss(pooled_logits(x_b), labels, batch.weights),
        }


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Acol:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Acol(backbone, classes, config.section(AcolConfig), config.maps.padding)
