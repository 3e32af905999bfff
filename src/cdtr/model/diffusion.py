"""The diffusion of SCM (Bai et al., ECCV 2022): attention spreads over neighbours whose class evidence is alike.

Training only. Each block computes ``P = Y F`` with ``Y`` an approximate inverse of ``L = (D - A) * (lambda E - 1)``,
the Laplacian of the grid of patches weighted by the cosine similarity ``E`` of their class maps. ``Y`` comes from k
steps of Newton and Schulz, ``Y <- Y (2 I - L Y)`` from ``Y = start * L^T``. ``L`` is symmetric, so with
``R = I - start * L^2``

    Y = start * L * (sum of R^j, j < 2^k) = start * L * (product of I + R^(2^i), i < k),

which is computed here: for few steps as products with ``L`` alone, which has five values a patch, else by squaring
``R``, half the matrix products of the iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config.modules.scm import ScmConfig
from cdtr.errors import ConfigError
from cdtr.model.maps import scale_maps

_SPARSE_STEPS = 5  # at most 2^5 - 1 products with R, each two with L, which cost less than one matrix product
_MAX_PATCHES = 600  # of a matrix of all patches and its 16 steps for each image


@dataclass(frozen=True, slots=True)
class GridGraph:
    """The symmetric matrix ``L`` of a grid of patches with four neighbours each, without wrap.

    Attributes:
        own: (B, h, w), its diagonal.
        right: (B, h, w - 1), between a patch and its right neighbour.
        below: (B, h - 1, w), between a patch and the one below.
    """

    own: Tensor
    right: Tensor
    below: Tensor

    def times(self, maps: Tensor) -> Tensor:
        """Compute ``L F`` of maps (B, h, w)."""
        return (
            self.own * maps
            + F.pad(self.right * maps[:, :, 1:], (0, 1))
            + F.pad(self.right * maps[:, :, :-1], (1, 0))
            + F.pad(self.below * maps[:, 1:], (0, 0, 0, 1))
            + F.pad(self.below * maps[:, :-1], (0, 0, 1, 0))
        )

    def dense(self) -> Tensor:
        """The matrix, (B, hw, hw)."""
        height, width = self.own.shape[1:]
        patches = torch.arange(height * width, device=self.own.device).reshape(height, width)
        found = torch.diag_embed(self.own.flatten(1))
        for values, first, second in (
            (self.right, patches[:, :-1], patches[:, 1:]),
            (self.below, patches[:-1], patches[1:]),
        ):
            flat = values.flatten(1)
            found[:, first.flatten(), second.flatten()] = flat
            found[:, second.flatten(), first.flatten()] = flat
        return found


def similar_neighbours(class_maps: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the cosine similarity of the class evidence of neighbours.

    Args:
        class_maps: (B, C, h, w).

    Returns:
        (B, h, w - 1) of a patch and its right neighbour, (B, h - 1, w) of a patch and the one below; 0 for a patch
        without evidence. Positive factors of the patches do not change it.
    """
    unit = F.normalize(class_maps, dim=1, eps=1e-8)
    return (unit[..., 1:] * unit[..., :-1]).sum(dim=1), (unit[:, :, 1:] * unit[:, :, :-1]).sum(dim=1)


def weighted_laplacian(similar: tuple[Tensor, Tensor], strength: Tensor) -> GridGraph:
    """Compute ``L = (D - A) * (lambda E - 1)``, elementwise.

    Args:
        similar: Output of ``similar_neighbours``.
        strength: ``lambda``, a scalar. At 1 the diagonal is 0, below 1 the diffused map is inverted (higher where the
            attention is lower).
    """
    right, below = similar
    ones, under = torch.ones_like(right), torch.ones_like(below)
    degrees = F.pad(ones, (0, 1)) + F.pad(ones, (1, 0)) + F.pad(under, (0, 0, 0, 1)) + F.pad(under, (0, 0, 1, 0))
    return GridGraph(degrees * (strength - 1), 1 - strength * right, 1 - strength * below)


def diffused(graph: GridGraph, maps: Tensor, steps: int, start: float) -> Tensor:
    """Compute ``Y F``, with ``Y`` after some steps of Newton and Schulz.

    Args:
        graph: ``L``.
        maps: ``F``, (B, h, w).
        steps: Number of steps k.
        start: Factor of ``Y_0 = start * L^T``.

    Returns:
        (B, h, w).
    """
    if steps <= _SPARSE_STEPS:
        power, total = maps, maps
        for _ in range(2**steps - 1):
            power = power - start * graph.times(graph.times(power))
            total = total + power
        return start * graph.times(total)
    laplacian = graph.dense()
    residual = torch.eye(laplacian.shape[-1], device=maps.device, dtype=maps.dtype) - start * laplacian @ laplacian
    column = maps.flatten(1)[..., None]
    for step in range(steps):
        column = column + residual @ column
        if step < steps - 1:
            residual = residual @ residual
    return start * (laplacian @ column).reshape_as(maps)


class Diffusion(nn.Module):
    """The blocks of SCM: each diffuses the attention and gates the class maps with it.

    Args:
        config: The settings of SCM.
        grid_hw: Height and width of the patch grid.

    Raises:
        ConfigError: So many steps need matrices that are too large.
    """

    def __init__(self, config: ScmConfig, grid_hw: tuple[int, int]) -> None:
        super().__init__()
        patches = grid_hw[0] * grid_hw[1]
        if max(config.steps) > _SPARSE_STEPS and patches > _MAX_PATCHES:
            few = ", ".join(["4"] * config.blocks)
            raise ConfigError(
                f"scm.steps {max(config.steps)} needs matrices of {patches} x {patches} patches for each image, more "
                f"than {_MAX_PATCHES}: set scm.steps=[{few}] (at most {_SPARSE_STEPS} need none), or choose larger "
                "patches"
            )
        self.config = config
        self.lambdas = nn.Parameter(torch.full((config.blocks,), config.lambda_init))
        self.betas = nn.Parameter(torch.full((config.blocks,), config.beta_init))

    def forward(self, class_maps: Tensor, attention: Tensor) -> Tensor:
        """Gate class maps by diffused attention, in float32 even under autocast.

        Args:
            class_maps: ``S_0``, (B, C, h, w).
            attention: ``F_0``, (B, h, w) in [0, 1].

        Returns:
            ``S_0`` times a gain of each patch, which is at least 1 and at most 2 for each block, (B, C, h, w).
        """
        with torch.autocast(class_maps.device.type, enabled=False):
            maps, gain = attention.float(), torch.ones_like(attention, dtype=torch.float32)
            similar = similar_neighbours(class_maps.float())
            for number, steps in enumerate(self.config.steps):
                graph = weighted_laplacian(similar, self.lambdas[number])
                spread = diffused(graph, maps, steps, self.config.start)
                added = scale_maps(F.tanhshrink(spread / self._scale(maps, number)))
                maps, gain = maps + added, gain * (1 + added)
            return class_maps.float() * gain[:, None]

    def _scale(self, maps: Tensor, number: int) -> Tensor:
        """What the spread maps are divided by, (B, 1, 1); infinite where an image's attention is constant."""
        highest = maps.amax(dim=(1, 2), keepdim=True)
        return self.betas[number] * highest.masked_fill(highest <= 1e-12, float("inf"))

    def strengths(self) -> dict[str, Tensor]:
        """The learned lambdas and betas of the blocks by name, scalars without a gradient."""
        named = {"lambda": self.lambdas.detach(), "beta": self.betas.detach()}
        return {f"{name}_{number + 1}": value for name, values in named.items() for number, value in enumerate(values)}
