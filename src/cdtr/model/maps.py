"""Small functions on maps that several modules share."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import AttentionReduce
from cdtr.records import ModelOutput


def scale_maps(maps: Tensor) -> Tensor:
    """Min-max scale each map to [0, 1].

    Args:
        maps: (..., h, w), any sign and scale.

    Returns:
        The same shape, in [0, 1]; a constant map becomes zeros. The gradient flows through minimum and maximum too.
    """
    low = maps.amin(dim=(-2, -1), keepdim=True)
    span = maps.amax(dim=(-2, -1), keepdim=True) - low
    # Dividing by infinity, not by a small number: a constant map must not send a huge gradient back.
    return (maps - low) / span.masked_fill(span <= 1e-12, float("inf"))


def mean_attention(attention: Tensor, reduce: AttentionReduce = "mean") -> Tensor:
    """Compute ``M*_ca`` of Eq. 5, the mean of the class token's attention over blocks and heads.

    Args:
        attention: (B, L, S, h, w), in L blocks and S heads.
        reduce: ``sum_heads`` sums over the heads, as CDTR's released code does; ``sum_blocks`` over the blocks, as
            TS-CAM's does.

    Returns:
        (B, h, w), each value about 1 / hw.
    """
    mean = attention.mean(dim=(1, 2))
    if reduce == "mean":
        return mean
    return mean * attention.shape[2 if reduce == "sum_heads" else 1]


def pooled_logits(class_maps: Tensor) -> Tensor:
    """Pool class maps (B, C, h, w) to logits (B, C), by their mean over the grid."""
    return class_maps.mean(dim=(-2, -1))


def class_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Compute the cross-entropy of Eq. 1, ``L_cls``; Eqs. 4 and 10 are the same of other logits.

    Args:
        logits: (B, C), computed with in float32.
        labels: (B,) int64.
        weights: (B,), of the images (``Batch.weights``); None if all weigh the same.

    Returns:
        A scalar, the mean over the batch.
    """
    if weights is None:
        return F.cross_entropy(logits.float(), labels)
    # Not divided by the batch's weights, which differ between the parts of a step.
    return (weights * F.cross_entropy(logits.float(), labels, reduction="none")).mean()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Compute Pearson's correlation of two maps over the patches.

    Args:
        first: (B, h, w).
        second: (B, h, w).

    Returns:
        (B,) in [-1, 1]; 0 if either map is constant.
    """
    products: Tensor = (standardised(first) * standardised(second)).mean(dim=(1, 2))
    return products


def standardised(maps: Tensor) -> Tensor:
    """Scale each map (..., h, w) to mean 0 and variance 1 over its patches; a constant map becomes zeros."""
    centred = maps - maps.mean(dim=(-2, -1), keepdim=True)
    # A norm, not a square root of the variance: its gradient is 0, not infinite, where a map is constant.
    spread = centred.flatten(-2).norm(dim=-1)[..., None, None] / math.sqrt(centred.shape[-2] * centred.shape[-1])
    scaled: Tensor = centred / spread.masked_fill(spread <= 1e-12, float("inf"))
    return scaled


def class_evidence(aux: Mapping[str, Tensor]) -> Tensor:
    """Return the class maps ``X_out + X_csm`` of Eq. 3.

    Args:
        aux: ``ModelOutput.aux`` with ``x_out`` (B, C, h, w), and ``x_csm`` of a method with CSM.

    Returns:
        (B, C, h, w) float32; ``evidence`` of ``aux`` if the method computed it, ``X_out`` alone without CSM.
    """
    if "evidence" in aux:
        return aux["evidence"]
    x_out = aux["x_out"].float()
    return x_out + aux["x_csm"].float() if "x_csm" in aux else x_out


def attention_agreement(output: ModelOutput, labels: Tensor) -> Tensor:
    """Compute the correlation of the attention with the class map of the label.

    It does not measure whether the class map itself is on the object.

    Args:
        output: Output of a method; its class maps are ``X_out + X_csm`` if it has them, else its localization maps.
        labels: (B,) int64.

    Returns:
        (B,) in [-1, 1]; negative if the attention is inverted (higher where the class map is lower).
    """
    class_maps = class_evidence(output.aux) if "x_out" in output.aux else output.maps
    of_label = class_maps[torch.arange(len(labels), device=labels.device), labels]
    return correlation(output.attention.float(), of_label.float())
