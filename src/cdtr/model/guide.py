"""The guide: local class maps and an object prior for starts without pretrained weights. Not in the paper.

No loss of TS-CAM, CSM, OCM or SKI depends on the place of the evidence for a class. Attention mixes all patches, so the
class maps and the attention of a transformer from scratch may be inverted (higher on the background than on the object)
at the same classification accuracy. A pretrained transformer does not have this ambiguity. The guide is a small
convolutional network with a small receptive field, as BagNet (Brendel and Bethge 2019), that learns the same labels
from each patch alone, so that its class maps are high only where the evidence is. Its features, or the colours of the
patches, also give a prior for objects: patches that differ from the image's border, or that are rare (``priors.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import GuideConfig, Padding, Prior
from cdtr.errors import ConfigError, DataError
from cdtr.model.cnn import CnnFeatures, LevelConv
from cdtr.model.maps import class_loss, correlation, pooled_logits, standardised
from cdtr.model.norm import SyncedBatchNorm2d
from cdtr.model.priors import OF_COLOURS, PRIORS
from cdtr.model.stem import halving_layers

_MOMENTUM = 0.02  # of the running agreement
_EVIDENCE_SHARE = 1.5  # weight of the evidence beside the prior; both have unit variance


@dataclass(frozen=True, slots=True)
class Guidance:
    """Output of the guide.

    Attributes:
        x_guide: (B, C, h, w), class maps.
        prior: The object prior, higher on objects: (B, h, w), or (B, K, h, w), one for each class; None without one.
    """

    x_guide: Tensor
    prior: Tensor | None


class Guide(nn.Module):
    """Class maps and an object prior from patches alone, and losses that align attention and class maps with them.

    Only training needs it. Its features come from stride-2 3x3 convolutions down to the patch grid: for 16-pixel
    patches the receptive field is 31 pixels.

    Args:
        classes: Number of classes C.
        grid_hw: Height and width of the patch grid.
        patch_size: Side of a patch in pixels.
        config: The settings of the guide.
        padding: Padding of the convolutions at the image's border.
        prior: Which object prior to compute; ``maps`` for that of the batch, None for none.
        cnn: The CNN whose features the guide uses instead of its own; not a part of the guide.

    Attributes:
        direction: The prior ``shared`` (C,) or ``by_class`` (K, C) as a direction in the normalised features, set
            before training by ``cdtr.training.features``; None with another prior.
        agreement: (C,), the running correlation of evidence and prior in each class. It is negative for a class that
            is recognised by the background, such as smooth steel; the evidence then counts with the opposite sign.
    """

    agreement: Tensor
    direction: Tensor | None

    def __init__(
        self,
        classes: int,
        grid_hw: tuple[int, int],
        patch_size: int,
        config: GuideConfig,
        padding: Padding = "zeros",
        prior: Prior | Literal["maps"] | None = None,
        cnn: CnnFeatures | None = None,
    ) -> None:
        super().__init__()
        self.grid_hw = grid_hw
        self.weight = config.weight
        self.prior = prior
        self.register_buffer("agreement", torch.zeros(classes))
        self._cnn = () if cnn is None else (cnn,)  # in a tuple, so that its weights are not the guide's
        shapes = {"shared": (), "by_class": (classes,)}
        fitted = None if prior not in shapes or cnn is None else torch.zeros(*shapes[prior], sum(cnn.channels))
        self.register_buffer("direction", fitted)
        if cnn is not None:
            self.of_levels = LevelConv(cnn, classes)
            return
        steps = max(round(math.log2(patch_size)), 1)
        widths = [max(config.width >> (steps - 1 - step), 32) for step in range(steps)]
        self.layers = nn.Sequential(
            halving_layers(3, widths, padding),
            nn.Conv2d(widths[-1], widths[-1], 1, bias=False),
            SyncedBatchNorm2d(widths[-1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[-1], classes, 1),
        )

    def forward(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> Guidance:
        """Compute class maps and prior.

        Args:
            images: (B, 3, H, W), normalised.
            levels: (B, C_i, h_i, w_i) each, the normalised features of ``cnn``, if they are known already.
        """
        if not self._cnn:
            features = F.adaptive_avg_pool2d(self.layers[:-1](images), self.grid_hw)
            return Guidance(self.layers[-1](features), self._own_prior(images, features))
        (cnn,) = self._cnn
        known = cnn(images) if levels is None else levels
        computed = self.prior is not None and self.prior != "maps"
        prior = self.prior_maps(str(self.prior), images, known) if computed else None
        return Guidance(self.of_levels(cnn, known), prior)

    def _own_prior(self, images: Tensor, features: Tensor) -> Tensor | None:
        """The prior of the guide's own features (B, D, h, w), or of the colours; None without a computed prior."""
        if self.prior is None or self.prior == "maps":
            return None
        return (
            _of_patches(self.prior, images, self.grid_hw) if self.prior in OF_COLOURS else PRIORS[self.prior](features)
        )

    def prior_maps(self, prior: str, images: Tensor, levels: Sequence[Tensor]) -> Tensor:
        """Compute any prior of the CNN's features, whichever the guide trains with.

        Args:
            prior: A name in ``PRIORS``, or that of ``direction``.
            images: (B, 3, H, W), normalised.
            levels: (B, C_i, h_i, w_i) each, the normalised features of ``cnn``.

        Returns:
            (B, h, w), higher on objects; ``by_class`` (B, K, h, w), one for each class.

        Raises:
            ConfigError: The guide has no CNN, or no direction.
        """
        if not self._cnn:
            raise ConfigError("the guide has features of its own: expected guide.features backbone")
        (cnn,) = self._cnn
        if prior in OF_COLOURS:
            return _of_patches(prior, images, self.grid_hw)
        if prior in PRIORS:
            weighted = [share * level for share, level in zip(cnn.shares(), levels, strict=True)]
            return PRIORS[prior](cnn.join(weighted))
        found = self.directed_maps(levels)
        if found is None:
            raise ConfigError(f"the guide has no direction of the prior {prior}: expected ocm.prior {prior}")
        return found

    def directed_maps(self, levels: Sequence[Tensor] | None) -> Tensor | None:
        """Compute the products of the CNN's features with ``direction``.

        Args:
            levels: (B, C_i, h_i, w_i) each, the normalised features of ``cnn``.

        Returns:
            (B, h, w) of the prior ``shared``, (B, K, h, w) of ``by_class``; None with another prior.
        """
        if self.direction is None or levels is None or not self._cnn:
            return None
        (cnn,) = self._cnn
        parts = torch.split(self.direction.reshape(-1, self.direction.shape[-1]), cnn.channels, dim=1)
        along = [
            torch.einsum("bchw,kc->bkhw", level.detach().float(), part)
            for level, part in zip(levels, parts, strict=True)
        ]
        found = cnn.add(along)
        return found.squeeze(1) if self.direction.dim() == 1 else found

    def prior_of(self, computed: Tensor | None, given: Tensor | None, labels: Tensor) -> Tensor | None:
        """Choose the prior of a batch.

        Args:
            computed: (B, h, w) or (B, K, h, w), that of ``forward``, if it has one.
            given: (B, H, W), the maps that came with the images, if any.
            labels: (B,) int64, which of the classes' priors are those of the images.

        Returns:
            (B, h, w): the maps averaged over each patch where the prior is ``maps``, else ``computed`` of the labels.

        Raises:
            DataError: The prior is ``maps``, and the batch has none.
        """
        if self.prior != "maps":
            return computed if computed is None or computed.dim() == 3 else computed[range(len(labels)), labels]
        if given is None:
            raise DataError("the prior is that of maps, and the batch has none: expected Batch.prior")
        return F.adaptive_avg_pool2d(given.float()[:, None], self.grid_hw).squeeze(1)

    def losses(
        self,
        seen: Guidance,
        m_ca: Tensor,
        evidence: Tensor,
        labels: Tensor,
        m_ocm: Tensor | None = None,
        weights: Tensor | None = None,
        has_object: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the terms of the guide.

        With a prior, the attention is aligned with it, and the class maps with the sum of prior and evidence. Without
        one, both are aligned with the evidence. The pseudo map has the target of the attention.

        Args:
            seen: Output of ``forward``.
            m_ca: (B, h, w), the mean attention.
            evidence: (B, h, w), the class maps of the labels.
            labels: (B,) int64.
            m_ocm: (B, h, w), the pseudo map of OCM; None to leave it alone.
            weights: (B,), of the images in the guide's own classification; None if all weigh the same.
            has_object: (B,) booleans, which images are aligned with where their object may be; None for all. The
                classification learns from the others too.

        Returns:
            Scalars by the name of the term, means over the images that it learns from.
        """
        terms = {"guide": class_loss(pooled_logits(seen.x_guide.float()), labels, weights)}
        if has_object is not None:
            seen = Guidance(seen.x_guide[has_object], None if seen.prior is None else seen.prior[has_object])
            m_ca, evidence, labels = m_ca[has_object], evidence[has_object], labels[has_object]
            m_ocm = None if m_ocm is None else m_ocm[has_object]
        own = seen.x_guide.float()[torch.arange(len(labels)), labels]
        objects, agreed = (own, own) if seen.prior is None else self._targets(own, seen.prior, labels)
        terms["guide_attention"] = self.weight * alignment_loss(m_ca, objects)
        terms["guide_maps"] = self.weight * alignment_loss(evidence, agreed)
        if m_ocm is not None:
            terms["guide_ocm"] = self.weight * alignment_loss(m_ocm, objects)
        return terms

    @torch.no_grad()
    def _targets(self, own: Tensor, prior: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the targets of attention and class maps, (B, h, w) each.

        These are the prior, and the prior plus the label's evidence, weighted by its agreement with the prior in the
        label's class.
        """
        if self.training:
            self._observe(labels, correlation(own, prior))
        share = _EVIDENCE_SHARE * self.agreement[labels][:, None, None]
        return prior, standardised(prior) + share * standardised(own)

    def _observe(self, labels: Tensor, correlations: Tensor) -> None:
        """Move each class's agreement towards the mean of the batch over all processes, so that all have the same."""
        batch = torch.zeros(2, len(self.agreement), device=labels.device)
        for row, values in zip(batch, (torch.ones_like(correlations), correlations), strict=True):
            row.index_add_(0, labels, values)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(batch)
        counts, sums = batch
        step = 1 - (1 - _MOMENTUM) ** counts
        self.agreement += step * (sums / counts.clamp(min=1) - self.agreement)


def _of_patches(prior: str, images: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """A prior of the patches' mean colours, (B, h, w)."""
    return PRIORS[prior](F.adaptive_avg_pool2d(images, grid_hw))


def alignment_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Compute ``1 - correlation`` of each map with its target.

    Args:
        maps: (B, h, w).
        target: (B, h, w), detached here.

    Returns:
        A scalar in [0, 2], the mean over the batch; a constant map counts as 1. 0 if B is 0.
    """
    if not len(maps):
        return 0 * maps.float().sum()
    return 1 - correlation(maps, target.detach()).mean()
