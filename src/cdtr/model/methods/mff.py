"""MFF, the first stage of SPOL (Wei et al., CVPR 2021): shallow and deep features multiplied.

The features of three strides are multiplied: deep ones know the object, shallow ones its outline, and where either is
zero there is none. SPOL's second stage, a segmenter, is `cdtr refine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import Config
from cdtr.config.modules.mff import MffConfig
from cdtr.errors import ConfigError
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import CnnMethod
from cdtr.model.maps import class_loss, pooled_logits
from cdtr.model.norm import SyncedBatchNorm2d
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"
_LEVELS = 3


class Mff(CnnMethod):
    """Three gated levels, fused, and one classifier for the fused and the deepest.

    Args:
        backbone: The CNN; its last three levels are fused.
        classes: Number of classes C.
        config: The settings of this method.

    Raises:
        ConfigError: The CNN has fewer levels.
    """

    def __init__(self, backbone: CnnBackbone, classes: int, config: MffConfig) -> None:
        super().__init__(backbone, levels=_LEVELS)
        self.config = config
        self.pooled = nn.ModuleList(_conv_norm_relu(channels, config.width) for channels in backbone.channels)
        self.gates = nn.ModuleList(nn.Conv2d(config.width, channels, 1) for channels in backbone.channels)
        self.narrow = nn.ModuleList(_conv_norm_relu(channels, config.width) for channels in backbone.channels)
        self.dropout = nn.Dropout2d(config.dropout)
        self.head = nn.Conv2d(config.width, classes, 1)

    def check_training(self, counts: Sequence[int], config: Config) -> None:
        """Refuse batches of one image: batch norm of pooled features needs two."""
        if config.train.batch_size // config.train.accumulation < 2:
            raise ConfigError("method mff normalises pooled features over a batch: set train.batch_size to 2 or more")

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and class maps of the fused features.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Not used.
            levels: What ``backbone.levels`` returned for the images, if that is known already.

        Returns:
            ``maps`` (B, C, h, w), not negative, on the grid of the finest level; ``x_deep`` in ``aux`` are those of
            the deepest level on the same grid.
        """
        known = self.backbone.levels(images) if levels is None else levels
        context = [layer(level.mean(dim=(2, 3), keepdim=True)) for layer, level in zip(self.pooled, known, strict=True)]
        together = torch.stack(context).prod(dim=0)
        seen = [
            self.backbone.resample(number, narrow(gate(together).sigmoid() * level))
            for number, (narrow, gate, level) in enumerate(zip(self.narrow, self.gates, known, strict=True))
        ]
        stacked = torch.stack(seen)
        fused = stacked.prod(dim=0) if self.config.fuse == "product" else stacked.sum(dim=0)
        x_out = self.head(self.dropout(fused)).relu().float()
        x_deep = self.head(self.dropout(seen[-1])).relu().float()
        aux = {"x_out": x_out, "x_deep": x_deep}
        return ModelOutput(pooled_logits(x_out), x_out, fused.float().mean(dim=1), aux)

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``fused``, and of soft targets ``deep``, which learns the labels in place of the fused maps."""
        if self.config.target == "labels":
            return {"fused": class_loss(output.logits, batch.labels, batch.weights)}
        deep = pooled_logits(output.aux["x_deep"])
        fused = F.cross_entropy(output.logits, deep.detach().softmax(dim=1))
        return {"deep": class_loss(deep, batch.labels, batch.weights), "fused": fused}

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the mean of the terms, and no lambdas."""
        return torch.stack(list(terms.values())).mean(), {}


def _conv_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), SyncedBatchNorm2d(outputs), nn.ReLU(inplace=True))


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Mff:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Mff(backbone, classes, config.section(MffConfig))
