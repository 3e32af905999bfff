"""CAM, the class activation map (Zhou et al., CVPR 2016): what all methods on a CNN start from.

A linear classifier of the CNN's pooled features; its score at each place is the map of the class. Under one fair
protocol no erasing method beats it on average (Choe et al., CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import Config, Padding
from cdtr.config.modules.cam import CamConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import CnnMethod, neck_layers, strength
from cdtr.model.cnn_parts import Change
from cdtr.model.maps import class_loss, pooled_logits
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"
_CONVS = {"none": 0, "conv": 1, "double": 2}


class Cam(CnnMethod):
    """A 1x1 convolution of the features, pooled to logits.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: Whether there are convolutions before the classifier.
        padding: Padding of these at the image's border.
        levels: How many of its last levels the method looks at; the last one is classified.
    """

    def __init__(
        self,
        backbone: CnnBackbone,
        classes: int,
        config: CamConfig | None = None,
        padding: Padding = "zeros",
        levels: int = 1,
    ) -> None:
        super().__init__(backbone, levels)
        config = config or CamConfig()
        convs = _CONVS[config.neck]
        self.neck = neck_layers(backbone.dim, config.width, convs, padding)
        self.rectified = backbone.rectified or convs > 0
        self.dim = config.width if convs else backbone.dim
        self.head = nn.Conv2d(self.dim, classes, 1)

    def changes(self) -> Mapping[str, Change]:
        """What a step does to the output of parts of the CNN, by their names; nothing here."""
        return {}

    def features(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> Tensor:
        """What is classified, (B, D, h, w), of images (B, 3, H, W)."""
        known = self.backbone.levels(images, self.changes()) if levels is None else levels
        found: Tensor = self.neck(self.backbone(images, known)[-1])
        return found

    def output(self, features: Tensor, aux: Mapping[str, Tensor] | None = None) -> ModelOutput:
        """Classify features (B, D, h, w). The maps have no bias: it would move no box, but turn signs of products."""
        maps = F.conv2d(features, self.head.weight).float()
        bias: Tensor = self.head.bias if self.head.bias is not None else maps.new_zeros(())
        logits = pooled_logits(maps) + bias.float()
        return ModelOutput(logits, maps, strength(features.float(), self.rectified), {"x_out": maps, **(aux or {})})

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and class maps.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Not used.
            levels: What ``backbone.levels`` returned for the images, if that is known already.

        Returns:
            ``maps`` (B, C, h, w) of any sign, also as ``x_out``; ``attention`` is the strength of the features.
        """
        return self.output(self.features(images, levels))

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``cls``, the cross-entropy of the labels."""
        return {"cls": class_loss(output.logits, batch.labels, batch.weights)}


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Cam:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Cam(backbone, classes, config.section(CamConfig), config.maps.padding)
