"""Attention on the side of the class evidence: not in the paper, for starts without pretrained weights.

No loss of TS-CAM, CSM or OCM fixes the sign of the class token's attention: from scratch it may find the object and
paint it dark, at the same classification accuracy. A pretrained transformer brings the sign along.
"""

from __future__ import annotations

from torch import Tensor


def alignment_loss(m_ca: Tensor, evidence: Tensor) -> Tensor:
    """``1 - correlation`` of each attention map with its label's class map, averaged over the batch.

    m_ca, evidence: (B, h, w). In [0, 2]; 1 where either map is constant. The evidence is detached: the attention
    follows the classes, not the other way round.
    """
    return 1 - correlation(m_ca, evidence.detach()).mean()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the patches of maps (B, h, w), in [-1, 1]; 0 where a map is constant. (B,)"""
    a, b = (maps.flatten(1) - maps.flatten(1).mean(dim=1, keepdim=True) for maps in (first, second))
    norm = a.norm(dim=1) * b.norm(dim=1)
    coefficients: Tensor = (a * b).sum(dim=1) / norm.masked_fill(norm <= 1e-12, float("inf"))
    return coefficients
