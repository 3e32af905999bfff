"""Small functions on maps that several modules share."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from cdtr.config import AttentionReduce
from cdtr.records import ModelOutput


def scale_maps(maps: Tensor) -> Tensor:
    """Scale each map of (..., h, w) to [0, 1]; a constant map becomes zeros. The gradient passes the extremes too."""
    low = maps.amin(dim=(-2, -1), keepdim=True)
    span = maps.amax(dim=(-2, -1), keepdim=True) - low
    # Dividing by infinity, not by a small number: a constant map must not send a huge gradient back.
    return (maps - low) / span.masked_fill(span <= 1e-12, float("inf"))


def mean_attention(attention: Tensor, reduce: AttentionReduce = "mean") -> Tensor:
    """``M*_ca`` of Eq. 5: (B, L, S, h, w) to (B, h, w), the mean over blocks and heads; each value is about 1 / hw.

    ``sum_heads`` sums the heads, as CDTR's released code does, ``sum_blocks`` the blocks, as that of TS-CAM.
    """
    mean = attention.mean(dim=(1, 2))
    if reduce == "mean":
        return mean
    return mean * attention.shape[2 if reduce == "sum_heads" else 1]


def pooled_logits(class_maps: Tensor) -> Tensor:
    """Global average pooling: (B, C, h, w) to (B, C)."""
    return class_maps.mean(dim=(-2, -1))


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the patches of maps (B, h, w), in [-1, 1]; 0 where a map is constant. (B,)"""
    products: Tensor = (standardised(first) * standardised(second)).mean(dim=(1, 2))
    return products


def standardised(maps: Tensor) -> Tensor:
    """Each map (B, h, w) with mean 0 and variance 1 over its patches; a constant map becomes zeros."""
    centred = maps - maps.mean(dim=(1, 2), keepdim=True)
    # A norm, not a square root of the variance: its gradient is 0, not infinite, where a map is constant.
    spread = centred.flatten(1).norm(dim=1)[:, None, None] / math.sqrt(centred[0].numel())
    scaled: Tensor = centred / spread.masked_fill(spread <= 1e-12, float("inf"))
    return scaled


def class_evidence(aux: Mapping[str, Tensor]) -> Tensor:
    """``X_out + X_csm`` of Eq. 3, (B, C, h, w), or ``X_out`` alone, of a ``ModelOutput.aux`` that has it."""
    x_out = aux["x_out"].float()
    return x_out + aux["x_csm"].float() if "x_csm" in aux else x_out


def attention_agreement(output: ModelOutput, labels: Tensor) -> Tensor:
    """How much the attention is like the label's class map, ``correlation`` (B,); below 0 it is inside out.

    Whether the class map itself lies on the object this does not say. ``X_out + X_csm`` of Eq. 3, as far as the method
    has them, else its maps.
    """
    class_maps = class_evidence(output.aux) if "x_out" in output.aux else output.maps
    of_label = class_maps[torch.arange(len(labels), device=labels.device), labels]
    return correlation(output.attention.float(), of_label.float())
