"""CDTR, the CLIP-Driven Transformer (Chen et al., TPAMI 2025): CSM, OCM, SKI and SBA on TS-CAM.

Every module is a switch: without any it is TS-CAM, with CSM and OCM it is CATR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import AttentionReduce, Config, MapsConfig, Prior, module_specs
from cdtr.errors import ConfigError
from cdtr.model.attention import NOTHING_MORE, Watch
from cdtr.model.backbone import Backbone, Tokens, VitBackbone
from cdtr.model.cnn import CnnFeatures, LevelConv
from cdtr.model.csm import Csm
from cdtr.model.guide import Guidance, Guide
from cdtr.model.maps import class_evidence, class_loss, mean_attention, pooled_logits, standardised
from cdtr.model.ocm import Ocm
from cdtr.model.sba import Sba
from cdtr.model.ski import Ski
from cdtr.model.spatial import SpatialToken
from cdtr.model.weighting import AutomaticWeightedLoss
from cdtr.records import Batch, Method, ModelOutput

MODULES = frozenset({"csm", "ocm", "ski", "sba"})
BUNDLES = frozenset({"paper", "official"})


class Cdtr(Method):
    """The transformer, its convolutional class head, and the modules that are given.

    Args:
        backbone: Computes patch tokens and the class token's attention.
        classes: Number of classes C.
        csm: Class maps from the attention.
        ocm: Suppression and awakening of the attention.
        ski: A deformable kernel on the class maps, for training; needs ``csm``.
        sba: The loss by CLIP, for training.
        guide: Not in the paper, for training; see ``guide.py``.
        weighting: Learned weights of the terms; None if there is a single classification loss.
        sba_alpha: Weight alpha of the term of SBA in Eq. 2.
        attention_reduce: How the attention of blocks and heads is combined; see ``mean_attention``.
        maps: The settings of the localization maps.
        probed: The frozen CNN whose features the class maps ``X_out`` are a linear function of, fitted before training
            by ``cdtr.training.features``; None for a convolution of the patch tokens, which training learns.
        spatial: SAT's spatial token, whose map takes the place of the mean attention. It learns from the classification
            of patch tokens, so a convolution of these learns the classes beside the one that was fitted.
    """

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
        probed: CnnFeatures | None = None,
        spatial: SpatialToken | None = None,
    ) -> None:
        super().__init__()
        self.maps = maps or MapsConfig()
        self.backbone = backbone
        self.probe = None if probed is None else LevelConv(probed, classes).requires_grad_(False)
        if self.probe is None or spatial is not None:
            self.head: nn.Module = nn.Conv2d(backbone.dim, classes, 3, padding=1, padding_mode=self.maps.padding)
        self.spatial = spatial
        self.csm = csm
        self.ocm = ocm
        self.ski = ski
        self.sba = sba
        self.weighting = weighting
        self.guide = guide
        self.fixed_weights = {"sba": sba_alpha}  # of terms without a learned weight, where it is not 1
        self.attention_reduce: AttentionReduce = attention_reduce

    @property
    def cnn(self) -> CnnFeatures | None:
        """The CNN whose features are the patches; None without one."""
        return self.backbone.cnn

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and localization maps (Eq. 3, or as ``maps.fuse`` says).

        Args:
            images: (B, 3, H, W), normalised.
            auxiliary: Whether to run SKI and the guide, which no map needs; None runs them in training mode.
            levels: Feature maps of the images' ``cnn``, if they are known already.

        Returns:
            ``maps`` (B, C, h, w) are of any sign. ``aux`` has the outputs of the modules, and in training the class
            maps ``X_out + X_csm`` as ``evidence``, which several losses use.
        """
        auxiliary = self.training if auxiliary is None else auxiliary
        tokens = self._tokens(images, levels)
        m_ca = self._attention(tokens)
        x_out = self._class_maps(tokens)
        aux: dict[str, Tensor] = {"x_out": x_out}
        if self.probe is not None and self.spatial is not None and auxiliary:
            aux["head_logits"] = pooled_logits(self.head(tokens.patches))
        if self.csm is not None:
            aux["x_csm"] = self.csm(tokens.attention)
            aux["csm_logits"] = pooled_logits(aux["x_csm"])
        if self.ocm is not None:
            aux["m_ocm"] = self.ocm(tokens.attention)
        if self.ski is not None and auxiliary:
            aux["x_ski"], aux["ski_logits"], aux["ski_offset_rms"] = self.ski(x_out, aux["x_csm"], m_ca)
        aux |= self._guidance(images, tokens, auxiliary)
        evidence = class_evidence(aux)
        if auxiliary and self.csm is not None:
            aux["evidence"] = evidence
        if self.maps.evidence == "mean" and "x_csm" in aux:
            evidence = evidence / 2
        return ModelOutput(pooled_logits(x_out), fuse(m_ca, evidence, self.maps, aux), m_ca, aux)

    def _tokens(self, images: Tensor, levels: Sequence[Tensor] | None, watch: Watch = NOTHING_MORE) -> Tokens:
        """The tokens, and what ``watch`` or the spatial token asks for besides, which a transformer of timm has."""
        watch = watch if self.spatial is None else self.spatial.watch(self.backbone.depth)
        if watch is not NOTHING_MORE and isinstance(self.backbone, VitBackbone):
            return self.backbone(images, levels, watch)
        return self.backbone(images) if levels is None else self.backbone(images, levels)

    def _attention(self, tokens: Tokens) -> Tensor:
        """The attention (B, h, w): ``M*_ca``, or the map of the spatial token."""
        own = tokens.spatial
        return mean_attention(tokens.attention, self.attention_reduce) if own is None else own.mean(dim=1)

    def _guidance(self, images: Tensor, tokens: Tokens, auxiliary: bool) -> dict[str, Tensor]:
        """Output of the guide by name: without ``auxiliary`` the prior alone, where maps are made with it."""
        found: dict[str, Tensor] = {}
        prior = None
        if self.guide is not None and auxiliary:
            seen = self.guide(images, tokens.features)
            found["x_guide"], prior = seen.x_guide, seen.prior
        elif self.guide is not None and self.maps.fuse == "prior":
            prior = self.guide.directed_maps(tokens.features)
        return found if prior is None else found | {"prior": prior}

    def _class_maps(self, tokens: Tokens) -> Tensor:
        """``X_out`` (B, C, h, w)."""
        if self.probe is None or self.cnn is None or tokens.features is None:
            found: Tensor = self.head(tokens.patches)
            return found
        return self.probe(self.cnn, tokens.features)  # type: ignore[no-any-return]

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the terms of Eq. 2, and those of the guide.

        Args:
            output: Output of ``forward`` in training mode.
            batch: The images that it was computed from.

        Returns:
            Scalars, means over the batch, before weighting.
        """
        labels, aux, has_object = batch.labels, output.aux, batch.has_object
        terms = {"cls": class_loss(aux.get("head_logits", output.logits), labels, batch.weights)}
        if self.spatial is not None:
            terms |= self.spatial.losses(output.attention, has_object)
        if self.csm is not None:
            terms["csm"] = self.csm.loss(aux["csm_logits"], labels, batch.weights)
        if self.ocm is not None:
            terms |= self.ocm.losses(output.attention, aux["m_ocm"].float(), has_object)
        if self.ski is not None:
            terms["ski"] = self.ski.loss(aux["ski_logits"], labels, batch.weights)
        evidence = class_evidence(aux)[range(len(labels)), labels]
        if self.guide is not None:
            seen = Guidance(aux["x_guide"], self.guide.prior_of(aux.get("prior"), batch.prior, labels))
            m_ocm = aux["m_ocm"].float() if self.ocm is not None and self.ocm.config.prior != "none" else None
            terms |= self.guide.losses(seen, output.attention, evidence, labels, m_ocm, batch.weights, has_object)
        if self.sba is not None:
            # The released code shows CLIP what the model sees, erased pixels included (row 10).
            as_is = self.sba.config.image == "as_is"
            images = batch.images if as_is or batch.clean_images is None else batch.clean_images
            terms["sba"] = self.sba.loss(images, *self._shown_to_clip(output, evidence), labels)
        return terms

    def _shown_to_clip(self, output: ModelOutput, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """The attention and the class maps of the labels that the masks of SBA are made of, (B, h, w) each."""
        return output.attention, evidence

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Compute the total loss of Eq. 2.

        Args:
            terms: Output of ``losses``.

        Returns:
            The terms under their learned weights; plus ``alpha`` times the term of SBA and the terms of the guide,
            which the paper does not have. And the lambdas by name.
        """
        if self.weighting is None:
            learned: tuple[str, ...] = ("cls",)
            total, lambdas = terms["cls"].float(), {}
        else:
            learned = self.weighting.names
            total, lambdas = self.weighting(terms), self.weighting.lambdas()
        for name, term in terms.items():
            if name not in learned:
                total = total + self.fixed_weights.get(name, 1.0) * term
        return total, lambdas


def fuse(m_ca: Tensor, evidence: Tensor, config: MapsConfig, aux: Mapping[str, Tensor] | None = None) -> Tensor:
    """Compute the localization maps ``M_fuse`` of Eq. 3, the product of attention and class maps.

    Args:
        m_ca: (B, h, w), the mean attention ``M*_ca``.
        evidence: (B, C, h, w), class maps ``X_out + X_csm`` of any sign.
        config: ``maps.fuse`` ``product`` is Eq. 3. Where the class map of a class is negative all over the image, as
            that of a class that is not recognised, the product is inverted attention; ``softplus`` of the class maps
            avoids that. The others leave the class maps out: ``attention`` and ``pseudo`` give every class the same
            map, the attention or OCM's pseudo map, as sharp as the patches; ``prior`` adds the object prior to the
            pseudo map, each of mean 0 and variance 1.
        aux: Has OCM's pseudo map as ``m_ocm`` (B, h, w), and the object prior as ``prior``, (B, h, w) or (B, C, h, w)
            for one of each class. Without a prior ``prior`` is ``pseudo``, and without OCM ``pseudo`` is the attention
            that it would be made of.

    Returns:
        (B, C, h, w).
    """
    if config.fuse in {"attention", "pseudo", "prior"}:
        aux = aux or {}
        found = m_ca if config.fuse == "attention" else aux.get("m_ocm", m_ca)
        if config.fuse == "prior" and "prior" in aux:
            prior = aux["prior"] if aux["prior"].dim() == 4 else aux["prior"][:, None]
            joined = standardised(found.float())[:, None] + standardised(prior.float())
            return joined.expand_as(evidence)
        return found[:, None].expand_as(evidence)
    return m_ca[:, None] * (F.softplus(evidence) if config.fuse == "softplus" else evidence)


def build(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> Cdtr:
    """Build the network with the modules that the configuration switches on.

    Args:
        config: The settings, with every switch set (``with_switches``).
        classes: Number of classes C.
        backbone: The transformer.
        sba: The loss of SBA, for training only.
    """
    return Cdtr(**parts(config, classes, backbone, sba))


def parts(config: Config, classes: int, backbone: Backbone, sba: Sba | None) -> dict[str, Any]:
    """Build the arguments of ``Cdtr``, of which other methods are made too; arguments as for ``build``."""
    padding = config.maps.padding
    csm = Csm(backbone.depth * backbone.heads, classes, config.csm, padding) if config.csm.enabled else None
    ocm = Ocm(backbone.depth, backbone.heads, config.ocm, padding) if config.ocm.enabled else None
    ski = Ski(classes, config.ski) if config.ski.enabled else None
    guide = _guide(config, classes, backbone) if config.guide.enabled else None
    present = {"csm": csm, "ocm": ocm, "ski": ski}
    learned = [spec for spec in module_specs() if spec.learned and present.get(spec.name) is not None]
    names = ["cls", *(term for spec in learned for term in spec.terms)]
    return {
        "backbone": backbone,
        "classes": classes,
        "csm": csm,
        "ocm": ocm,
        "ski": ski,
        "sba": sba,
        "guide": guide,
        # A single loss needs no weight, so TS-CAM has no lambda.
        "weighting": AutomaticWeightedLoss(names, config.weighting) if len(names) > 1 else None,
        "sba_alpha": config.sba.alpha,
        "attention_reduce": config.backbone.attention_reduce,
        "maps": config.maps,
        "probed": backbone.cnn
        if config.backbone.stem == "cnn" and config.backbone.cnn.classifier == "features"
        else None,
    }


def _guide(config: Config, classes: int, backbone: Backbone) -> Guide:
    cnn = None
    if config.guide.features == "backbone":
        cnn = backbone.cnn
        if cnn is None:
            raise ConfigError("guide.features backbone needs backbone.stem cnn, whose features the guide then uses")
    grid, patch = backbone.grid_hw, backbone.patch_size
    return Guide(classes, grid, patch, config.guide, config.maps.padding, _prior(config), cnn)


def _prior(config: Config) -> Prior | Literal["maps"] | None:
    """Return the guide's prior: that of OCM, or else that of the attention."""
    if config.ocm.enabled and config.ocm.prior != "none":
        return config.ocm.prior
    return None if config.guide.attention == "evidence" else config.guide.attention
