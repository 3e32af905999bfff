"""The class head of LCTR (CDM): a convolution whose kernel is mixed for each image (Chen et al., AAAI 2022).

A router looks at what the attention has not covered and opens a gate for each of some kernels. Convolution is linear in
its kernel, so the maps of all kernels are computed for all images and added by the gates.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import Padding
from cdtr.config.modules.lctr import LctrConfig
from cdtr.model.maps import scale_maps


class Router(nn.Module):
    """Gates in (0, 1), one for each kernel, from the mean and the maximum of features over the grid.

    Args:
        dim: Number of channels D.
        experts: Number of kernels G.
    """

    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.of_mean = nn.Linear(dim, experts)
        self.of_most = nn.Linear(dim, experts)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the gates (B, G) of features (B, D, h, w); they are independent, without a softmax."""
        gates: Tensor = (self.of_mean(features.mean(dim=(2, 3))) + self.of_most(features.amax(dim=(2, 3)))).sigmoid()
        return gates


class Cdm(nn.Module):
    """Class maps by a 3x3 kernel that is a sum of expert kernels, weighted for each image.

    Args:
        dim: Length D of a token.
        classes: Number of classes C.
        config: The settings of LCTR.
        padding: Padding of the convolutions at the image's border.
    """

    def __init__(self, dim: int, classes: int, config: LctrConfig, padding: Padding = "zeros") -> None:
        super().__init__()
        self.reverse = config.reverse
        self.pad_mode = "constant" if padding == "zeros" else padding
        self.uncovered = nn.Conv2d(dim, dim, 3, padding=1, padding_mode=padding)
        self.router = Router(dim, config.experts)
        self.experts = nn.Parameter(torch.empty(config.experts, classes, dim, 3, 3))
        self.bias = nn.Parameter(torch.empty(classes))
        # PyTorch's rule for a convolution, on five dimensions: the classes count as inputs.
        bound = 1 / math.sqrt(classes * dim * 9)
        nn.init.uniform_(self.experts, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, patches: Tensor, attention: Tensor) -> Tensor:
        """Compute class maps.

        Args:
            patches: (B, D, h, w).
            attention: (B, h, w), the mean attention ``M*_ca``.

        Returns:
            (B, C, h, w), of any sign.
        """
        covered = attention if self.reverse == "literal" else scale_maps(attention)
        gates = self.router(self.uncovered(patches * (1 - covered)[:, None].to(patches.dtype)))
        padded = F.pad(patches, (1, 1, 1, 1), mode=self.pad_mode)
        maps = self.bias[:, None, None]
        for number, kernel in enumerate(self.experts):
            maps = maps + gates[:, number, None, None, None] * F.conv2d(padded, kernel)
        return maps


def near_mean(maps: Tensor) -> Tensor:
    """Average maps (B, C, h, w) over 3x3 patches; zeros beyond the border count, so edges lose a third."""
    return F.avg_pool2d(maps, 3, stride=1, padding=1)
