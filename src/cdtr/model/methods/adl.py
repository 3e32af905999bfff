"""ADL, the Attention-based Dropout Layer (Choe and Shim, CVPR 2019): the strongest place is lost at times.

Behind some parts of the CNN each step either erases the cells where the mean feature is large, or multiplies by the
sigmoid of the mean feature. Evaluation leaves the features as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cdtr.config import Config, Padding
from cdtr.config.modules.adl import AdlConfig
from cdtr.config.modules.cam import CamConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import require_tuned, strongest
from cdtr.model.cnn_parts import Change
from cdtr.model.methods.cam import Cam
from cdtr.model.sba import Sba

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"


class Adl(Cam):
    """CAM with dropout layers between parts of the CNN.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: The settings of CAM.
        drop: How much is erased, how often, and where.
        padding: Padding at the image's border.

    Raises:
        ConfigError: The CNN is frozen, or has no such part.
    """

    def __init__(
        self, backbone: CnnBackbone, classes: int, config: CamConfig, drop: AdlConfig, padding: Padding = "zeros"
    ) -> None:
        super().__init__(backbone, classes, config, padding)
        require_tuned(backbone, "adl")
        self.drop = drop
        self.places = [backbone.part(name, "adl.after") for name in drop.after] or published_places(backbone)

    def changes(self) -> Mapping[str, Change]:
        """The layers by the part that they stand behind; none in evaluation."""
        return dict.fromkeys(self.places, self.dropped) if self.training else {}

    def dropped(self, maps: Tensor) -> Tensor:
        """Erase or weigh feature maps (B, D, h, w): one draw for the whole batch."""
        if float(torch.rand(())) < self.drop.share:
            return maps * ~strongest(maps, self.drop.threshold)
        return maps * maps.mean(dim=1, keepdim=True).sigmoid()


def published_places(backbone: CnnBackbone) -> list[str]:
    """Where ADL stands in VGG, ResNet and InceptionV3; elsewhere behind the last three levels."""
    parts, ends = backbone.parts, backbone.ends
    if parts[0].startswith("features."):
        third = backbone.behind(ends[-3]) if len(ends) > 2 else ends[0]  # a pool
        return list(dict.fromkeys([third, *ends[-2:]]))
    named = [name for name in ("layer3.0", "layer4.0", ends[-1]) if name in parts]
    if len(named) == 3:
        return list(dict.fromkeys(named))
    return list(ends[-3:])


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Adl:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Adl(backbone, classes, config.section(CamConfig), config.section(AdlConfig), config.maps.padding)
