"""A local guide for attention and class maps: not in the paper, for starts without pretrained weights.

No loss of TS-CAM, CSM, OCM or SKI says where the evidence for a class is. Attention mixes all patches, so the class
maps of a transformer from scratch may carry the evidence around the object or opposite to it, and the class token's
attention may paint the object dark, all at the same classification accuracy. A pretrained transformer brings the right
side along. Here a small convolutional network of small receptive field (in the manner of BagNet, Brendel and Bethge
2019) learns the same labels from what each patch shows by itself: its class maps can only be where the evidence is, and
its features say which patches are rare in their image, which is where an object is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import GuideConfig, Padding
from cdtr.model.maps import correlation, pooled_logits, standardised
from cdtr.model.norm import SyncedBatchNorm2d
from cdtr.model.rarity import rarity
from cdtr.model.stem import halving_layers

_MOMENTUM = 0.02  # of the running agreement
_EVIDENCE_SHARE = 1.5  # of agreed evidence beside rarity, both of unit variance
_CONSISTENT = 0.35  # share of the agreement's power that is the same in all images, from which rarity is believed
_SHARPNESS = 30.0  # of the step there
_FLATNESS = 4  # exponent of the middle's slopes


@dataclass(frozen=True, slots=True)
class Guidance:
    """What the guide sees, (B, C, h, w) and (B, h, w): class maps ``x_guide``, and ``rarity`` of its features."""

    x_guide: Tensor
    rarity: Tensor


class Guide(nn.Module):
    """Class maps and rarity from patches alone, and the losses that pull attention and class maps to their side.

    Stride-2 3x3 convolutions down to the patch grid: for 16-pixel patches each map value sees 31 pixels. Only training
    needs it. ``agreement`` (C,) is the running correlation of evidence and rarity in each class: where the background
    gives a class away, as smooth steel does, it is negative, and the evidence counts with its sign turned.
    ``agreement_power`` (C,) is its running square, ``agreement_weight`` (C,) how much both have seen. Where evidence
    and rarity go together in one image and apart in the next, what is rare has nothing to do with the class: the class
    fills its images, and with ``filled: middle`` their middle is taught instead.
    """

    agreement: Tensor
    agreement_power: Tensor
    agreement_weight: Tensor
    middle: Tensor

    def __init__(
        self,
        classes: int,
        grid_hw: tuple[int, int],
        patch_size: int,
        config: GuideConfig,
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.grid_hw = grid_hw
        self.weight = config.weight
        self.attention = config.attention
        self.filled = config.filled
        steps = max(round(math.log2(patch_size)), 1)
        widths = [max(config.width >> (steps - 1 - step), 32) for step in range(steps)]
        self.layers = nn.Sequential(
            halving_layers(3, widths, padding),
            nn.Conv2d(widths[-1], widths[-1], 1, bias=False),
            SyncedBatchNorm2d(widths[-1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[-1], classes, 1),
        )
        self.register_buffer("agreement", torch.zeros(classes))
        self.register_buffer("agreement_power", torch.zeros(classes))
        self.register_buffer("agreement_weight", torch.zeros(classes))
        self.register_buffer("middle", middle(grid_hw), persistent=False)

    def forward(self, images: Tensor) -> Guidance:
        """images: (B, 3, H, W), normalised."""
        features = F.adaptive_avg_pool2d(self.layers[:-1](images), self.grid_hw)
        return Guidance(self.layers[-1](features), rarity(features))

    def losses(
        self,
        seen: Guidance,
        m_ca: Tensor,
        evidence: Tensor,
        labels: Tensor,
        m_ocm: Tensor | None = None,
        rare: bool = False,
    ) -> dict[str, Tensor]:
        """m_ca, evidence, m_ocm: (B, h, w): attention, the label's class map, OCM's pseudo map. labels: (B,).

        With ``rare`` attention learns where the image is rare, the class maps where that and the evidence agree;
        without it both learn where the evidence is. A pseudo map that is given learns what attention learns.
        """
        own = seen.x_guide.float()[torch.arange(len(labels)), labels]
        objects, agreed = self._targets(own, seen.rarity, labels) if rare else (own, own)
        terms = {
            "guide": F.cross_entropy(pooled_logits(seen.x_guide.float()), labels),
            "guide_attention": self.weight * alignment_loss(m_ca, objects),
            "guide_maps": self.weight * alignment_loss(evidence, agreed),
        }
        if m_ocm is not None:
            terms["guide_ocm"] = self.weight * alignment_loss(m_ocm, objects)
        return terms

    @torch.no_grad()
    def _targets(self, own: Tensor, rare: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What attention and class maps learn, (B, h, w) each: rarity, and rarity plus the label's evidence, the
        latter as far as it agrees with rarity in the label's class; or the middle of the image."""
        if self.training:
            self._observe(labels, correlation(own, rare))
        objects = standardised(rare)
        agreed = objects + _EVIDENCE_SHARE * self.agreement[labels][:, None, None] * standardised(own)
        if self.filled == "rarity":
            return objects, agreed
        belief = self.belief()[labels][:, None, None]
        instead = (1 - belief) * standardised(self.middle[None])
        return belief * objects + instead, belief * agreed + instead

    def belief(self) -> Tensor:
        """(C,) in [0, 1]: how far rarity is believed to be the object, by how constant its agreement is.

        The square of the mean correlation by the mean of its square is 1 where it is the same in every image of the
        class, and near 0 where its sign is by chance. Believed until images have shown otherwise.
        """
        power = self.agreement_power * self.agreement_weight
        consistency = torch.where(power > 1e-6, self.agreement.square() / power.clamp(min=1e-6), 1.0)
        return torch.sigmoid(_SHARPNESS * (consistency - _CONSISTENT))

    def _observe(self, labels: Tensor, correlations: Tensor) -> None:
        """Move each class's agreement towards the mean of the batch, over all processes: they teach the same."""
        batch = torch.zeros(3, len(self.agreement), device=labels.device)
        for row, values in zip(batch, (torch.ones_like(correlations), correlations, correlations**2), strict=True):
            row.index_add_(0, labels, values)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(batch)
        counts, sums, squares = batch
        step = 1 - (1 - _MOMENTUM) ** counts
        self.agreement += step * (sums / counts.clamp(min=1) - self.agreement)
        self.agreement_power += step * (squares / counts.clamp(min=1) - self.agreement_power)
        self.agreement_weight += step * (1 - self.agreement_weight)


def middle(grid_hw: tuple[int, int]) -> Tensor:
    """(h, w): high over most of the image, with slopes to the borders; at half of its height a box of over half."""
    rows, columns = (torch.linspace(-1, 1, side) * (side - 1) / side for side in grid_hw)
    return 1 - torch.maximum(rows.abs()[:, None], columns.abs()[None, :]) ** _FLATNESS


def alignment_loss(maps: Tensor, target: Tensor) -> Tensor:
    """``1 - correlation`` of each map with its target, averaged over the batch.

    maps, target: (B, h, w). In [0, 2]; 1 where either map is constant. The target is detached: it teaches, and is not
    taught.
    """
    return 1 - correlation(maps, target.detach()).mean()
