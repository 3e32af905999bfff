"""The spatial token of SAT and its two losses (Wu et al., ICCV 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config.modules.sat import SatConfig
from cdtr.model.attention import Watch

# A Gaussian of standard deviation 0.418 that sums to 1: nearly the identity.
_CENTRE, _EDGE, _CORNER = 0.8054, 0.0460, 0.0026


class SpatialToken(nn.Module):
    """A learned token behind the patches; its products with their keys say which are foreground.

    ``cdtr.model.attention.spatial_mask`` makes the masks.

    Args:
        dim: Length D of a token.
        config: The settings of SAT.
    """

    smoothing: Tensor

    def __init__(self, dim: int, config: SatConfig) -> None:
        super().__init__()
        self.config = config
        self.spatial_token = nn.Parameter(torch.empty(1, 1, dim))
        self.spatial_embed = nn.Parameter(torch.empty(1, 1, dim))  # its position
        for parameter in (self.spatial_token, self.spatial_embed):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.register_buffer("smoothing", smoothing_filter(), persistent=False)

    def append(self, tokens: Tensor) -> Tensor:
        """Append the token to the tokens (B, N, D) of the first block."""
        token = (self.spatial_token + self.spatial_embed).to(tokens.dtype)
        return torch.cat([tokens, token.expand(tokens.shape[0], -1, -1)], dim=1)

    def watch(self, depth: int) -> Watch:
        """What a transformer of ``depth`` blocks has to compute for this token."""
        return Watch(token=self, blocks=min(self.config.blocks, depth))

    def losses(self, maps: Tensor, has_object: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the terms that keep the map from being all or nothing.

        Args:
            maps: (B, h, w) in (0, 1), the mean mask over the last blocks.
            has_object: (B,) booleans, the images whose maps count; None for all.

        Returns:
            ``sat_area``, the distance of the mean over the batch and its patches from ``sat.area``, and ``sat_norm``,
            the mean of ``G (1 - G)`` of the smoothed map ``G``, lowest where it is 0 or 1. With their weights.
        """
        maps = maps.float() if has_object is None else maps.float()[has_object]
        if not maps.numel():
            return {"sat_area": maps.sum(), "sat_norm": maps.sum()}
        smooth = F.conv2d(maps[:, None], self.smoothing, padding=1)
        return {
            "sat_area": self.config.area_weight * (maps.mean() - self.config.area).abs(),
            "sat_norm": self.config.norm_weight * (smooth * (1 - smooth)).mean(),
        }


def smoothing_filter() -> Tensor:
    """The fixed 3x3 filter ``G``, (1, 1, 3, 3); it sums to 1."""
    rows = [[_CORNER, _EDGE, _CORNER], [_EDGE, _CENTRE, _EDGE], [_CORNER, _EDGE, _CORNER]]
    values = torch.tensor(rows, dtype=torch.float64)
    return (values / values.sum()).float()[None, None]
