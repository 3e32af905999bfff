"""The direction of a class in a CNN's features, from sums over its images: nothing but the sums is kept in memory.

Reference: Wei et al., "Unsupervised object discovery and co-localization by deep descriptor transformation", Pattern
Recognition 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CELLS_A_CHANNEL = 20  # a class with fewer cells takes the direction of all classes


@dataclass(slots=True)
class Descriptors:
    """Sums over descriptors of D channels, float64.

    Attributes:
        count: Number of cells.
        total: (D,), their sum.
        products: (D, D), the sum of their outer products.
        border: (D,), the mean over images of the mean over their outermost cells, summed.
        images: Number of images.
    """

    count: int
    total: Tensor
    products: Tensor
    border: Tensor
    images: int

    @classmethod
    def empty(cls, channels: int, device: torch.device | None = None) -> Descriptors:
        """Sums over nothing."""
        zero = torch.zeros(channels, dtype=torch.float64, device=device)
        return cls(0, zero, zero.new_zeros(channels, channels), zero.clone(), 0)

    def add_images(self, features: Tensor) -> None:
        """Add all cells of features (B, D, h, w)."""
        exact = features.double()
        cells = exact.transpose(0, 1).flatten(1)
        outermost = torch.ones(exact.shape[2:], dtype=torch.bool, device=exact.device)
        outermost[1:-1, 1:-1] = False
        self.count += cells.shape[1]
        self.images += len(exact)
        self.total += cells.sum(dim=1)
        self.products += cells @ cells.T
        self.border += exact[:, :, outermost].mean(dim=2).sum(dim=0)

    def add(self, other: Descriptors) -> None:
        """Add the sums over other images."""
        self.count += other.count
        self.images += other.images
        self.total += other.total
        self.products += other.products
        self.border += other.border

    def enough(self) -> bool:
        """Whether there are cells enough for a covariance of that many channels."""
        return self.count >= CELLS_A_CHANNEL * len(self.total)


def object_direction(sums: Descriptors) -> tuple[Tensor, Tensor]:
    """The first principal component of the descriptors, turned to the object.

    An eigenvector has no sign. It is turned so that cells at the border of the images have a negative mean score, or
    where that is zero, so that scores rise with the mean of the channels.

    Args:
        sums: Over at least one image.

    Returns:
        The mean (D,) and the direction (D,) of unit length, float32.
    """
    mean = sums.total / sums.count
    covariance = sums.products / sums.count - torch.outer(mean, mean)
    direction = torch.linalg.eigh(covariance).eigenvectors[:, -1]
    at_border = float(direction @ (sums.border / sums.images - mean))
    scale = float(direction.abs() @ mean.abs()) or 1.0
    if abs(at_border) <= 1e-9 * scale:
        at_border = -float(direction @ covariance.mean(dim=1))
    direction = -direction if at_border > 0 else direction
    return mean.float(), direction.float()
