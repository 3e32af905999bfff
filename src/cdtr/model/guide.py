"""A local guide for attention and class maps: not in the paper, for starts without pretrained weights.

No loss of TS-CAM, CSM, OCM or SKI says where the evidence for a class is. Attention mixes all patches, so the class
maps of a transformer from scratch may carry the evidence around the object or opposite to it, and the class token's
attention may paint the object dark, all at the same classification accuracy. A pretrained transformer brings the right
side along. Here a small convolutional network of small receptive field (in the manner of BagNet, Brendel and Bethge
2019) learns the same labels from what each patch shows by itself: its class maps can only be where the evidence is, and
its features, or the patches' colours, say where the image is unlike its border, or rare, which is where an object is
(``priors.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import GuideConfig, Padding, Prior
from cdtr.model.maps import correlation, pooled_logits, standardised
from cdtr.model.norm import SyncedBatchNorm2d
from cdtr.model.priors import OF_COLOURS, PRIORS
from cdtr.model.stem import halving_layers

_MOMENTUM = 0.02  # of the running agreement
_EVIDENCE_SHARE = 1.5  # of agreed evidence beside the prior, both of unit variance


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the guide sees, (B, C, h, w) and (B, h, w): class maps ``x_guide``, and where its ``prior`` has objects."""

    x_guide: Tensor
    prior: Tensor | None


class Guide(nn.Module):
    """Class maps and an object prior from patches alone, and the losses that pull attention and class maps there.

    Its own features come from stride-2 3x3 convolutions down to the patch grid: for 16-pixel patches each map value
    sees 31 pixels. With ``shares`` (D,), the weight of each of the backbone's features in the prior, it has none of
    its own and sees those. Only training needs it. ``agreement`` (C,) is the running correlation of evidence and
    prior in each class: where the background gives a class away, as smooth steel does, it is negative, and the
    evidence counts with its sign turned.
    """

    agreement: Tensor
    shares: Tensor | None

    def __init__(
        self,
        classes: int,
        grid_hw: tuple[int, int],
        patch_size: int,
        config: GuideConfig,
        padding: Padding = "zeros",
        prior: Prior | None = None,
        shares: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.grid_hw = grid_hw
        self.weight = config.weight
        self.prior = prior
        self.register_buffer("agreement", torch.zeros(classes))
        self.register_buffer("shares", shares, persistent=False)
        if shares is not None:
            self.layers = nn.Sequential(nn.Conv2d(len(shares), classes, 1))
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

    def forward(self, images: Tensor, features: Tensor | None = None) -> Guidance:
        """images: (B, 3, H, W), normalised. features: (B, D, h, w) of the backbone, for a guide without own ones."""
        if self.shares is None:
            features = F.adaptive_avg_pool2d(self.layers[:-1](images), self.grid_hw)
            return Guidance(self.layers[-1](features), self._prior(images, features))
        if features is None:
            raise TypeError("this guide sees the backbone's features, which are missing")
        return Guidance(self.layers(features), self._prior(images, features * self.shares[:, None, None]))

    def _prior(self, images: Tensor, features: Tensor) -> Tensor | None:
        if self.prior is None:
            return None
        compared = F.adaptive_avg_pool2d(images, self.grid_hw) if self.prior in OF_COLOURS else features
        return PRIORS[self.prior](compared)

    def losses(
        self, seen: Guidance, m_ca: Tensor, evidence: Tensor, labels: Tensor, m_ocm: Tensor | None = None
    ) -> dict[str, Tensor]:
        """m_ca, evidence, m_ocm: (B, h, w): attention, the label's class map, OCM's pseudo map. labels: (B,).

        With a prior attention learns that, and the class maps learn where it and the evidence agree; without one both
        learn where the evidence is. A pseudo map that is given learns what attention learns.
        """
        own = seen.x_guide.float()[torch.arange(len(labels)), labels]
        objects, agreed = (own, own) if seen.prior is None else self._targets(own, seen.prior, labels)
        terms = {
            "guide": F.cross_entropy(pooled_logits(seen.x_guide.float()), labels),
            "guide_attention": self.weight * alignment_loss(m_ca, objects),
            "guide_maps": self.weight * alignment_loss(evidence, agreed),
        }
        if m_ocm is not None:
            terms["guide_ocm"] = self.weight * alignment_loss(m_ocm, objects)
        return terms

    @torch.no_grad()
    def _targets(self, own: Tensor, prior: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What attention and class maps learn, (B, h, w) each: the prior, and the prior plus the label's evidence, the
        latter as far as it agrees with the prior in the label's class."""
        if self.training:
            self._observe(labels, correlation(own, prior))
        share = _EVIDENCE_SHARE * self.agreement[labels][:, None, None]
        return prior, standardised(prior) + share * standardised(own)

    def _observe(self, labels: Tensor, correlations: Tensor) -> None:
        """Move each class's agreement towards the mean of the batch, over all processes: they teach the same."""
        batch = torch.zeros(2, len(self.agreement), device=labels.device)
        for row, values in zip(batch, (torch.ones_like(correlations), correlations), strict=True):
            row.index_add_(0, labels, values)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(batch)
        counts, sums = batch
        step = 1 - (1 - _MOMENTUM) ** counts
        self.agreement += step * (sums / counts.clamp(min=1) - self.agreement)


def alignment_loss(maps: Tensor, target: Tensor) -> Tensor:
    """``1 - correlation`` of each map with its target, averaged over the batch.

    maps, target: (B, h, w). In [0, 2]; 1 where either map is constant. The target is detached: it teaches, and is not
    taught.
    """
    return 1 - correlation(maps, target.detach()).mean()
