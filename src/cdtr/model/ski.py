"""Semantic Kernel Integrator: a deformable kernel steered by CSM and the attention (section III-E, Eq. 10)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from cdtr.config import SkiConfig


class Ski(nn.Module):
    """Offsets from ``M*_ca * X_csm`` shift a 3x3 kernel over ``X_out``; only training needs it."""

    def __init__(self, classes: int, config: SkiConfig) -> None:
        super().__init__()
        self.offsets_from_out = config.offsets_from == "out"
        self.offsets = nn.Conv2d(classes, 2 * 3 * 3, 3, padding=1)
        self.kernel = DeformConv2d(classes, classes, 3, padding=1, bias=False)

    def forward(self, x_out: Tensor, x_csm: Tensor, m_ca: Tensor) -> Tensor:
        """x_out, x_csm: (B, C, h, w); m_ca: (B, h, w) to ``X_ski`` (B, C, h, w).

        Runs in float32: torchvision's kernel has no bf16 version on the CPU.
        """
        with torch.autocast(x_out.device.type, enabled=False):
            guide, moved = (x_out, x_csm) if self.offsets_from_out else (x_csm, x_out)
            offsets = self.offsets(guide.float() * m_ca.float()[:, None])
            x_ski: Tensor = self.kernel(moved.float().contiguous(), offsets)
        return x_ski
