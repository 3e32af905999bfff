"""LCTR, the Local Continuity Transformer (Chen et al., AAAI 2022): TS-CAM with both of its factors improved locally.

The class token's attention is passed on through the attention of the patches of the same block (RPAM), and the class
head is a convolution whose kernel is mixed for each image (CDM, ``cdm.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from cdtr.config import Config
from cdtr.config.modules.lctr import LctrConfig
from cdtr.errors import ConfigError
from cdtr.model.attention import Watch
from cdtr.model.backbone import Backbone
from cdtr.model.cdm import Cdm, near_mean
from cdtr.model.maps import mean_attention, pooled_logits
from cdtr.model.methods.cdtr import Cdtr, fuse, parts
from cdtr.model.requirements import require_classes, require_plain_maps, require_transformer
from cdtr.model.sba import Sba
from cdtr.records import ModelOutput

MODULES: frozenset[str] = frozenset()
TAKES = frozenset({"sba", "guide"})
BUNDLES = frozenset({"paper", "official"})


class Lctr(Cdtr):
    """Relational attention times the positive part of the class maps of a mixed kernel.

    Args:
        head: The class head.
        config: The settings of LCTR.
        **arguments: Of ``Cdtr``, with a transformer of timm and without the modules of CDTR.
    """

    def __init__(self, head: Cdm, config: LctrConfig, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.head = head
        self.config = config

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and localization maps.

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Whether to run the guide, which no map needs; None runs it in training mode.
            levels: Feature maps of the images' ``cnn``, if they are known already.

        Returns:
            ``attention`` is the mean attention, ``relational`` of ``aux`` the relational attention (B, h, w), ``x_out``
            the class maps. With a classifier of CNN features, its scores are the ``logits``, and those of the class
            maps, which training learns, are ``head_logits`` of ``aux``.
        """
        auxiliary = self.training if auxiliary is None else auxiliary
        taught = self.sba is not None and auxiliary and self.config.sba_attention == "relational"
        watch = Watch(relational="gradient" if taught else "values", class_row=self.config.class_row)
        tokens = self._tokens(images, levels, watch)
        m_ca = mean_attention(tokens.attention, self.attention_reduce)
        relational = m_ca if tokens.relational is None else tokens.relational.mean(dim=1)
        x_out = self.head(tokens.patches, m_ca)
        logits = pooled_logits(near_mean(x_out) if self.config.pool_logits else x_out)
        aux = {"x_out": x_out, "relational": relational, **self._guidance(images, tokens, auxiliary)}
        if self.probe is not None and self.cnn is not None and tokens.features is not None:
            aux["head_logits"] = logits
            logits = pooled_logits(self.probe(self.cnn, tokens.features))
        evidence = x_out if self.maps.fuse == "softplus" else F.relu(x_out)
        return ModelOutput(logits, fuse(relational, evidence, self.maps, aux), m_ca, aux)

    def _shown_to_clip(self, output: ModelOutput, evidence: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.sba_attention == "relational":
            return output.aux["relational"], F.relu(evidence)
        return output.attention, F.relu(evidence)


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> Lctr:
    """Build the method.

    Args:
        config: The settings, with every switch set.
        classes: Number of classes C, at least 2.
        backbone: A transformer of timm.
        sba: The loss of SBA, for training only.

    Raises:
        ConfigError: The backbone or a setting is not one for LCTR.
    """
    require_classes(config, classes)
    vit = require_transformer(config, backbone)
    require_plain_maps(config, "product", "softplus", "attention", "pseudo", "prior")
    if config.backbone.attention_reduce != "mean":
        raise ConfigError(
            f"method lctr takes 1 - the mean attention, which backbone.attention_reduce "
            f"{config.backbone.attention_reduce} multiplies: set backbone.attention_reduce=mean"
        )
    settings = config.section(LctrConfig)
    arguments = parts(config, classes, backbone, sba)
    return Lctr(head=Cdm(vit.dim, classes, settings, config.maps.padding), config=settings, **arguments)
