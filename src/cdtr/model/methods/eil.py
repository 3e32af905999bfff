"""EIL, Erasing Integrated Learning (Mai et al., CVPR 2020), the form of MEIL with one level.

The features in the middle of the CNN go on twice: as they are, and without the place where they are strong. Both are
to show the class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cdtr.config import Config, Padding
from cdtr.config.modules.cam import CamConfig
from cdtr.config.modules.eil import EilConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import require_tuned, strongest
from cdtr.model.cnn_parts import Change
from cdtr.model.maps import class_loss
from cdtr.model.methods.cam import Cam
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"


class Eil(Cam):
    """CAM with a second, erased pass through the end of the CNN.

    Both passes are one batch of twice the size, so that batch norm, where it learns, sees both.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: The settings of CAM.
        erase: How much is erased, and where.
        padding: Padding at the image's border.

    Raises:
        ConfigError: The CNN is frozen, or has no such part.
    """

    keeps_features = False

    def __init__(
        self, backbone: CnnBackbone, classes: int, config: CamConfig, erase: EilConfig, padding: Padding = "zeros"
    ) -> None:
        super().__init__(backbone, classes, config, padding)
        require_tuned(backbone, "eil")
        self.erase = erase
        vgg = backbone.parts[0].startswith("features.")
        end = backbone.ends[max(len(backbone.ends) - 2, 0)]
        published = backbone.behind(end) if vgg else end  # VGG: behind the pool
        self.place = published if erase.after is None else backbone.part(erase.after, "eil.after")

    def changes(self) -> Mapping[str, Change]:
        """Both passes start behind one part; in evaluation there is one."""
        return {self.place: self.twice} if self.training else {}

    def twice(self, maps: Tensor) -> Tensor:
        """Feature maps (B, D, h, w) as they are, then without their strongest place, (2 B, D, h, w)."""
        return torch.cat([maps, maps * ~strongest(maps, self.erase.threshold)])

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and class maps of the plain pass as ``Cam``; in training with ``logit_b`` (B, C)."""
        if not self.training:
            return super().forward(images, auxiliary, levels)
        plain, erased = self.features(images).chunk(2)
        return self.output(plain, {"logit_b": self.output(erased).logits})

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the cross-entropy of both passes, ``cls`` and ``erased``."""
        terms = super().losses(output, batch)
        if "logit_b" in output.aux:
            terms["erased"] = class_loss(output.aux["logit_b"], batch.labels, batch.weights)
        return terms


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Eil:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Eil(backbone, classes, config.section(CamConfig), config.section(EilConfig), config.maps.padding)
