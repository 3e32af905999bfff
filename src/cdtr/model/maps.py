"""Small functions on maps that several modules share."""

from __future__ import annotations

from torch import Tensor


def scale_maps(maps: Tensor) -> Tensor:
    """Scale each map of (..., h, w) to [0, 1]; a constant map becomes zeros. The gradient passes the extremes too."""
    low = maps.amin(dim=(-2, -1), keepdim=True)
    span = maps.amax(dim=(-2, -1), keepdim=True) - low
    # Dividing by infinity, not by a small number: a constant map must not send a huge gradient back.
    return (maps - low) / span.masked_fill(span <= 1e-12, float("inf"))


def mean_attention(attention: Tensor, sum_heads: bool = False) -> Tensor:
    """``M*_ca`` of Eq. 5: (B, L, S, h, w) to (B, h, w), the mean over blocks and heads; each value is about 1 / hw.

    With ``sum_heads`` the heads are summed, as the released code does.
    """
    return attention.mean(dim=1).sum(dim=1) if sum_heads else attention.mean(dim=(1, 2))


def pooled_logits(class_maps: Tensor) -> Tensor:
    """Global average pooling: (B, C, h, w) to (B, C)."""
    return class_maps.mean(dim=(-2, -1))
