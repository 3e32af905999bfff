"""Semantic Kernel Integrator: a deformable kernel steered by CSM and the attention (section III-E, Eq. 10)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from cdtr.config import SkiConfig
from cdtr.model.maps import pooled_logits, scale_maps


class SkiOutput(NamedTuple):
    """Output of SKI.

    x_ski: (B, C, h, w), the class maps ``X_ski``. logits: (B, C), their pooled values. offset_rms: a scalar, the root
    mean square over batch, taps and patches of the offsets' input-driven part, in patches; without a gradient.
    """

    x_ski: Tensor
    logits: Tensor
    offset_rms: Tensor


class Ski(nn.Module):
    """Offsets from ``M*_ca * X_csm`` shift a 3x3 kernel over ``X_out``; only training needs it.

    Behind a mean over the grid a convolution with fixed taps is a linear function of the pooled ``X_out``, so the
    offsets are all that makes SKI differ from a second classifier: see ``ski.attention`` and ``ski.pool``.
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


def attention_pooled(class_maps: Tensor, scaled_attention: Tensor) -> Tensor:
    """Mean of class maps (B, C, h, w) weighted by attention (B, h, w) in [0, 1]; the plain mean where that is all 0."""
    weight = scaled_attention + 1e-6
    pooled: Tensor = (class_maps * weight[:, None]).sum(dim=(-2, -1)) / weight.sum(dim=(-2, -1))[:, None]
    return pooled
