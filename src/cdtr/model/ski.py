"""Semantic Kernel Integrator: a deformable kernel steered by CSM and the attention (section III-E, Eq. 10)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from cdtr.config import SkiConfig
from cdtr.model.maps import class_loss, pooled_logits, scale_maps


class SkiOutput(NamedTuple):
    """Output of SKI.

    Attributes:
        x_ski: (B, C, h, w), the class maps ``X_ski``.
        logits: (B, C), their pooled values.
        offset_rms: A scalar without gradient, the root mean square over batch, taps and patches of the part of the
            offsets that depends on the input, in patches.
    """

    x_ski: Tensor
    logits: Tensor
    offset_rms: Tensor


class Ski(nn.Module):
    """Offsets from ``M*_ca * X_csm`` shift a 3x3 kernel over ``X_out``; only training needs it.

    A convolution with fixed taps, followed by a mean over the grid, is a linear function of the pooled ``X_out``. The
    offsets alone make SKI differ from a second classifier: see ``ski.attention`` and ``ski.pool``.

    Args:
        classes: Number of classes C.
        config: The settings of SKI.
    """

    def __init__(self, classes: int, config: SkiConfig) -> None:
        super().__init__()
        self.config = config
        self.offsets = nn.Conv2d(classes, 2 * 3 * 3, 3, padding=1)
        self.kernel = DeformConv2d(classes, classes, 3, padding=1, bias=False)
        # As in the released code; torchvision's own initialisation is narrower by the square root of 6.
        nn.init.kaiming_uniform_(self.kernel.weight, nonlinearity="relu")

    def forward(self, x_out: Tensor, x_csm: Tensor, m_ca: Tensor) -> SkiOutput:
        """Compute ``X_ski`` and its logits, in float32: torchvision's kernel has no bf16 version on the CPU.

        Args:
            x_out: (B, C, h, w), class maps of the patch tokens.
            x_csm: (B, C, h, w), class maps of CSM.
            m_ca: (B, h, w), attention, each value about 1 / hw.

        Returns:
            The class maps, their logits and the size of the offsets.
        """
        with torch.autocast(x_out.device.type, enabled=False):
            x_out, x_csm, m_ca = x_out.float(), x_csm.float(), m_ca.float()
            scaled = scale_maps(m_ca)
            weight = scaled if self.config.attention == "scaled" else m_ca
            guide, moved = (x_out, x_csm) if self.config.offsets_from == "out" else (x_csm, x_out)
            offsets = self.offsets(guide * weight[:, None])
            x_ski: Tensor = self.kernel(moved.contiguous(), offsets)
            logits = attention_pooled(x_ski, scaled) if self.config.pool == "attention" else pooled_logits(x_ski)
            driven = (offsets - self.offsets.bias[:, None, None]).detach()  # type: ignore[index]
        return SkiOutput(x_ski, logits, driven.square().mean().sqrt())

    def loss(self, ski_logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute ``L_ski`` of Eq. 10, the cross-entropy of SKI's class logits.

        Args:
            ski_logits: (B, C), the pooled ``X_ski``.
            labels: (B,) int64.
            weights: (B,), of the images; None if all weigh the same.

        Returns:
            A scalar, the mean over the batch.
        """
        return class_loss(ski_logits, labels, weights)


def attention_pooled(class_maps: Tensor, scaled_attention: Tensor) -> Tensor:
    """Pool class maps over the grid, weighted by attention.

    Args:
        class_maps: (B, C, h, w).
        scaled_attention: (B, h, w) in [0, 1].

    Returns:
        (B, C); the plain mean where the attention is 0 everywhere.
    """
    weight = scaled_attention + 1e-6
    pooled: Tensor = (class_maps * weight[:, None]).sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1))[:, None]
    return pooled
