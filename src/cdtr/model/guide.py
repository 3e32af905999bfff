"""A local guide for attention and class maps: not in the paper, for starts without pretrained weights.

No loss of TS-CAM, CSM, OCM or SKI says where the evidence for a class is. Attention mixes all patches, so the class
maps of a transformer from scratch may carry the evidence around the object or opposite to it, and the class token's
attention may paint the object dark, all at the same classification accuracy. A pretrained transformer brings the right
side along. Here a small convolutional network of small receptive field (in the manner of BagNet, Brendel and Bethge
2019) learns the same labels from what each patch shows by itself: its class maps can only be where the evidence is.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import GuideConfig
from cdtr.model.maps import pooled_logits
from cdtr.model.norm import SyncedBatchNorm2d
from cdtr.model.stem import halving_layers


class Guide(nn.Module):
    """Class maps from patches alone, and the losses that pull attention and class maps to their side.

    Stride-2 3x3 convolutions down to the patch grid: for 16-pixel patches each map value sees 31 pixels. Only training
    needs it.
    """

    def __init__(self, classes: int, grid_hw: tuple[int, int], patch_size: int, config: GuideConfig) -> None:
        super().__init__()
        self.grid_hw = grid_hw
        self.weight = config.weight
        steps = max(round(math.log2(patch_size)), 1)
        widths = [max(config.width >> (steps - 1 - step), 32) for step in range(steps)]
        self.layers = nn.Sequential(
            halving_layers(3, widths),
            nn.Conv2d(widths[-1], widths[-1], 1, bias=False),
            SyncedBatchNorm2d(widths[-1]),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[-1], classes, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 3, H, W), normalised, to class maps ``X_guide`` (B, C, h, w)."""
        return F.adaptive_avg_pool2d(self.layers(images), self.grid_hw)

    def losses(self, x_guide: Tensor, m_ca: Tensor, evidence: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """x_guide: (B, C, h, w). m_ca, evidence: (B, h, w), attention and the label's class map. labels: (B,)."""
        target = x_guide.float()[range(len(labels)), labels]
        return {
            "guide": F.cross_entropy(pooled_logits(x_guide.float()), labels),
            "guide_attention": self.weight * alignment_loss(m_ca, target),
            "guide_maps": self.weight * alignment_loss(evidence, target),
        }


def alignment_loss(maps: Tensor, target: Tensor) -> Tensor:
    """``1 - correlation`` of each map with its target, averaged over the batch.

    maps, target: (B, h, w). In [0, 2]; 1 where either map is constant. The target is detached: it teaches, and is not
    taught.
    """
    return 1 - correlation(maps, target.detach()).mean()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the patches of maps (B, h, w), in [-1, 1]; 0 where a map is constant. (B,)"""
    a, b = (maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True) for maps in (first, second))
    norm = a.norm(dim=1) * b.norm(dim=1)
    coefficients: Tensor = (a * b).sum(dim=1) / norm.masked_fill(norm <= 1e-12, float("inf"))
    return coefficients
