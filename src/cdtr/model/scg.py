"""Self-correlation: a class map spread along cells with similar features, at inference, without training.

Reference: Pan et al., "Unveiling the Potential of Structure Preserving for Weakly Supervised Object Localization",
CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config.modules.spa import SpaConfig
from cdtr.model.maps import scale_maps

_TINY = 1e-12
_RAMP = 0.01


def correlations(features: Tensor, config: SpaConfig) -> Tensor:
    """Compute how strongly each cell is correlated with each other cell, in first and second order.

    Args:
        features: (B, D, h, w).
        config: ``tau1``, ``tau2`` and ``beta``.

    Returns:
        (B, N, N), not negative; column j is the map of what is like cell j.
    """
    unit = F.normalize(features.float().flatten(2), dim=1)
    alike = (unit.transpose(1, 2) @ unit).clamp_min(0)
    alike = alike * at_least(alike, config.tau1)
    first = _sum_to_one(alike)
    others = alike * (1 - torch.eye(alike.shape[1], device=alike.device))
    steps = _sum_to_one(others)
    second = _sum_to_one(steps @ steps)
    second = second * at_least(second, config.tau2 / alike.shape[1])
    return torch.maximum(first, config.beta * second)


def spread(class_maps: Tensor, levels: Sequence[Tensor], config: SpaConfig) -> Tensor:
    """Spread class maps from their seeds along similar cells.

    Args:
        class_maps: (B, C, h, w), of any sign and scale.
        levels: (B, D_i, h, w) each, features on the grid of the maps; their correlations are summed.
        config: The settings of SCG; ``positive`` and ``negative`` choose the seeds.

    Returns:
        (B, C, h, w) in [0, 1]: what is like the seeds of the object and unlike those of the background.
    """
    summed = torch.stack([correlations(features, config) for features in levels]).sum(dim=0)
    low = summed.amin(dim=1, keepdim=True)
    span = summed.amax(dim=1, keepdim=True) - low
    columns = (summed - low) / span.masked_fill(span <= _TINY, float("inf"))
    scaled = scale_maps(class_maps.float())
    shape = scaled.shape
    seeds = scaled.flatten(2)

    def reached(chosen: Tensor) -> Tensor:
        return scale_maps((chosen @ columns.transpose(1, 2)).reshape(shape))

    difference = reached(at_least(seeds, config.positive)) - reached(1 - at_least(seeds, config.negative))
    return scale_maps(difference.clamp_min(0))


def at_least(values: Tensor, threshold: float) -> Tensor:
    """Whether values reach a threshold: 0 below and 1 above, with a ramp as wide as a hundredth of the threshold.

    A step would let rounding decide on a whole cell, and the maps of an exported file would differ.
    """
    return ((values - threshold) / max(_RAMP * threshold, _TINY) + 0.5).clamp(0, 1)


def _sum_to_one(matrix: Tensor) -> Tensor:
    """Divide each column of (B, N, N) by its sum; a column of zeros stays."""
    return matrix / matrix.sum(dim=1, keepdim=True).clamp_min(_TINY)
