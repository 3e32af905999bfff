"""SPA, structure-preserving activation (Pan et al., CVPR 2021): CAM with restricted activation, spread at inference.

RAM, in training: where class probabilities differ much between classes there is an object, where they are alike there
is none. SCG, at inference (``cdtr.model.scg``): the map spreads from its seeds to cells with similar features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from cdtr.config import Config, Padding
from cdtr.config.modules.cam import CamConfig
from cdtr.config.modules.spa import SpaConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import of_labels
from cdtr.model.maps import scale_maps
from cdtr.model.methods.cam import Cam
from cdtr.model.sba import Sba
from cdtr.model.scg import spread
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"


class Spa(Cam):
    """CAM with the term of RAM, and maps of SCG.

    Args:
        backbone: The CNN; its last two levels are correlated.
        classes: Number of classes C.
        config: The settings of CAM.
        settings: The settings of RAM and SCG.
        padding: Padding at the image's border.
    """

    def __init__(
        self, backbone: CnnBackbone, classes: int, config: CamConfig, settings: SpaConfig, padding: Padding = "zeros"
    ) -> None:
        super().__init__(backbone, classes, config, padding, levels=2 if settings.scg else 1)
        self.settings = settings
        self.restricts = classes >= settings.min_classes
        self._counts = settings.start == 0

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """RAM's term counts once the share ``start`` of the epochs is over."""
        self._counts = epoch >= self.settings.start * epochs

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and class maps as ``Cam``; in evaluation the maps are spread by SCG."""
        known = self.backbone.levels(images) if levels is None else levels
        output = super().forward(images, auxiliary, known)
        if self.training or not self.settings.scg:
            return output
        return replace(output, maps=spread(output.maps, self.backbone(images, known), self.settings))

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``cls`` and, from its epoch on and with classes enough, ``ram``."""
        terms = super().losses(output, batch)
        if self.restricts:
            ram = restriction(output.aux["x_out"], batch.labels, self.settings)
            terms["ram"] = ram if self._counts else ram.detach() * 0
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the sum with RAM's weight, and no lambdas."""
        ram = terms.get("ram")
        return (terms["cls"] if ram is None else terms["cls"] + self.settings.weight * ram), {}


def restriction(class_maps: Tensor, labels: Tensor, config: SpaConfig) -> Tensor:
    """Compute RAM's term.

    Args:
        class_maps: (B, C, h, w), of any sign.
        labels: (B,) int64.
        config: ``low`` and ``gap``, of the variance over classes scaled to [0, 1] in each image.

    Returns:
        A scalar, the mean over cells and images of sigmoid(S_y) on background and 1 - sigmoid(S_y) on objects.
    """
    variance = scale_maps(class_maps.detach().float().softmax(dim=1).var(dim=1, unbiased=False))
    background, object_ = variance < config.low, variance > config.low + config.gap
    seen = of_labels(class_maps.float(), labels).sigmoid()
    return (seen * background + (1 - seen) * object_).mean()


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Spa:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Spa(backbone, classes, config.section(CamConfig), config.section(SpaConfig), config.maps.padding)
