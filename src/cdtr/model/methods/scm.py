"""SCM, the Spatial Calibration Module (Bai et al., ECCV 2022): TS-CAM that is trained on diffused attention.

Evaluation is TS-CAM with attention scaled to [0, 1]: the diffusion only shapes the gradient of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from cdtr.config import Config
from cdtr.config.modules.scm import ScmConfig
from cdtr.model.backbone import Backbone
from cdtr.model.diffusion import Diffusion
from cdtr.model.maps import pooled_logits, scale_maps
from cdtr.model.methods.cdtr import Cdtr, fuse, parts
from cdtr.model.requirements import require_classes, require_plain_maps
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
TAKES = frozenset({"sba", "guide"})
BUNDLES = frozenset({"paper", "official"})


class Scm(Cdtr):
    """TS-CAM and the blocks that diffuse its attention in training.

    Args:
        diffusion: The blocks.
        **arguments: Of ``Cdtr``, without the modules of CDTR.
    """

    def __init__(self, diffusion: Diffusion, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.diffusion = diffusion

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and maps as TS-CAM does, and in training the scores of the gated class maps.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Whether to run the diffusion and the guide, which no map needs; None runs them in training mode.
            levels: Feature maps of the images' ``cnn``, if they are known already.

        Returns:
            ``maps`` (B, C, h, w) of attention in [0, 1]; the scores that training learns are ``scm_logits`` of ``aux``,
            which has the lambdas and betas of the blocks as scalars too, for the log.
        """
        auxiliary = self.training if auxiliary is None else auxiliary
        output = super().forward(images, auxiliary, levels)
        x_out, attention = output.aux["x_out"], scale_maps(output.attention)
        aux = dict(output.aux)
        if auxiliary:
            aux["scm_logits"] = pooled_logits(self.diffusion(x_out, attention))
            aux |= self.diffusion.strengths()
        return replace(output, maps=fuse(attention, x_out, self.maps, aux), aux=aux)

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``cls``, the cross-entropy of the gated class maps alone, and the terms of SBA and the guide."""
        return super().losses(replace(output, logits=output.aux["scm_logits"]), batch)


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> Scm:
    """Build the method.

    Args:
        config: The settings, with every switch set.
        classes: Number of classes C, at least 2.
        backbone: Any with attention.
        sba: The loss of SBA, for training only.
    """
    require_classes(config, classes)
    require_plain_maps(config, "product", "softplus", "attention", "pseudo", "prior")
    diffusion = Diffusion(config.section(ScmConfig), backbone.grid_hw)
    return Scm(diffusion, **parts(config, classes, backbone, sba))
