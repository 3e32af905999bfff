"""CDTR, the CLIP-Driven Transformer (Chen et al., TPAMI 2025): CSM, OCM, SKI and SBA on TS-CAM.

Every module is a switch: without any it is TS-CAM, with CSM and OCM it is CATR.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import AttentionReduce, Config, MapsConfig, Prior
from cdtr.errors import ConfigError
from cdtr.model.backbone import Backbone
from cdtr.model.csm import Csm
from cdtr.model.guide import Guidance, Guide
from cdtr.model.maps import class_evidence, mean_attention, pooled_logits
from cdtr.model.ocm import Ocm
from cdtr.model.sba import Sba
from cdtr.model.ski import Ski
from cdtr.model.weighting import AutomaticWeightedLoss
from cdtr.records import Batch, ModelOutput

MODULES = frozenset({"csm", "ocm", "ski", "sba"})
BUNDLES = frozenset({"paper", "official"})


class Cdtr(nn.Module):
    """The transformer, its convolutional class head, and whichever of the modules are given."""

    def __init__(
        self,
        backbone: Backbone,
        classes: int,
        csm: Csm | None = None,
        ocm: Ocm | None = None,
        ski: Ski | None = None,
        sba: Sba | None = None,
        guide: Guide | None = None,
        weighting: AutomaticWeightedLoss | None = None,
        sba_alpha: float = 0.0,
        attention_reduce: AttentionReduce = "mean",
        maps: MapsConfig | None = None,
    ) -> None:
        super().__init__()
        self.maps = maps or MapsConfig()
        self.backbone = backbone
        self.head = nn.Conv2d(backbone.dim, classes, 3, padding=1, padding_mode=self.maps.padding)
        self.csm = csm
        self.ocm = ocm
        self.ski = ski
        self.sba = sba
        self.weighting = weighting
        self.guide = guide
        self.sba_alpha = sba_alpha
        self.attention_reduce: AttentionReduce = attention_reduce

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        """images: (B, 3, H, W), normalised. ``maps`` is ``M_ca * (X_out + X_csm)`` for every class (Eq. 3), or what
        ``maps.fuse`` says.

        SKI and the guide, which no map needs, run where ``auxiliary`` asks for them, by default in training mode.
        """
        auxiliary = self.training if auxiliary is None else auxiliary
        tokens = self.backbone(images)
        m_ca = mean_attention(tokens.attention, self.attention_reduce)
        x_out: Tensor = self.head(tokens.patches)
        aux: dict[str, Tensor] = {"x_out": x_out}
        if self.csm is not None:
            aux["x_csm"] = self.csm(tokens.attention)
            aux["csm_logits"] = pooled_logits(aux["x_csm"])
        if self.ocm is not None:
            aux["m_ocm"] = self.ocm(tokens.attention)
        if self.ski is not None and auxiliary:
            aux["x_ski"], aux["ski_logits"], aux["ski_offset_rms"] = self.ski(x_out, aux["x_csm"], m_ca)
        if self.guide is not None and auxiliary:
            seen = self.guide(images, tokens.features)
            aux["x_guide"] = seen.x_guide
            if seen.prior is not None:
                aux["prior"] = seen.prior
        evidence = class_evidence(aux)
        if self.maps.evidence == "mean" and "x_csm" in aux:
            evidence = evidence / 2
        return ModelOutput(pooled_logits(x_out), fuse(m_ca, evidence, self.maps), m_ca, aux)

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """The terms of Eq. 2, and the guide's, by name, each a scalar, before weighting."""
        labels, aux = batch.labels, output.aux
        terms = {"cls": F.cross_entropy(output.logits.float(), labels)}
        if self.csm is not None:
            terms["csm"] = F.cross_entropy(aux["csm_logits"].float(), labels)
        if self.ocm is not None:
            terms |= self.ocm.losses(output.attention, aux["m_ocm"].float())
        if self.ski is not None:
            terms["ski"] = F.cross_entropy(aux["ski_logits"].float(), labels)
        evidence = class_evidence(aux)[range(len(labels)), labels]
        if self.guide is not None:
            seen = Guidance(aux["x_guide"], aux.get("prior"))
            m_ocm = aux["m_ocm"].float() if self.ocm is not None and self.ocm.config.prior != "none" else None
            terms |= self.guide.losses(seen, output.attention, evidence, labels, m_ocm)
        if self.sba is not None:
            # The released code shows CLIP what the model sees, erased pixels included (row 10).
            as_is = self.sba.config.image == "as_is"
            images = batch.images if as_is or batch.clean_images is None else batch.clean_images
            terms["sba"] = self.sba.loss(images, output.attention, evidence, labels)
        return terms

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Eq. 2: automatic weights, but ``alpha`` for SBA's term and 1 for the guide's, which the paper has not."""
        if self.weighting is None:
            total, lambdas = terms["cls"].float(), {}
        else:
            total, lambdas = self.weighting(terms), self.weighting.lambdas()
        for name, term in terms.items():
            if name.startswith("guide"):
                total = total + term
        if "sba" in terms:
            total = total + self.sba_alpha * terms["sba"]
        return total, lambdas


def fuse(m_ca: Tensor, evidence: Tensor, config: MapsConfig) -> Tensor:
    """Attention (B, h, w) and class maps (B, C, h, w) to localization maps (B, C, h, w).

    ``product`` is Eq. 3. Where a class's evidence is negative all over the image, as that of a class that is not
    recognised, the product turns the attention inside out; ``softplus`` of the evidence keeps it as it is.
    """
    return m_ca[:, None] * (F.softplus(evidence) if config.fuse == "softplus" else evidence)


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> Cdtr:
    """Wire the modules that the configuration switches on."""
    padding = config.maps.padding
    csm = Csm(backbone.depth * backbone.heads, classes, config.csm, padding) if config.csm.enabled else None
    ocm = Ocm(backbone.depth, backbone.heads, config.ocm, padding) if config.ocm.enabled else None
    ski = Ski(classes, config.ski) if config.ski.enabled else None
    guide = _guide(config, classes, backbone) if config.guide.enabled else None
    names = ["cls"]
    names += ["csm"] if csm is not None else []
    names += ["ocm_suppress", "ocm_awaken"] if ocm is not None else []
    names += ["ski"] if ski is not None else []
    return Cdtr(
        backbone=backbone,
        classes=classes,
        csm=csm,
        ocm=ocm,
        ski=ski,
        sba=sba,
        guide=guide,
        # A single classification loss has nothing to be weighed against, so TS-CAM has no lambda.
        weighting=AutomaticWeightedLoss(names, config.weighting) if len(names) > 1 else None,
        sba_alpha=config.sba.alpha,
        attention_reduce=config.backbone.attention_reduce,
        maps=config.maps,
    )


def _guide(config: Config, classes: int, backbone: Backbone) -> Guide:
    shares = None
    if config.guide.features == "backbone":
        if backbone.cnn is None:
            raise ConfigError("guide.features backbone needs backbone.stem cnn, whose features the guide then sees")
        shares = backbone.cnn.shares()
    grid, patch = backbone.grid_hw, backbone.patch_size
    return Guide(classes, grid, patch, config.guide, config.maps.padding, _prior(config), shares)


def _prior(config: Config) -> Prior | None:
    """What the guide compares patches by: OCM's prior, or attention's where OCM has none."""
    if config.ocm.enabled and config.ocm.prior != "none":
        return config.ocm.prior
    return None if config.guide.attention == "evidence" else config.guide.attention
