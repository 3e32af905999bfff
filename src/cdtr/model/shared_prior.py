"""The object prior ``shared``: a direction in a pretrained CNN's features, found over many images. Not in the paper.

A simple prior of one image, such as how far a patch's colour is from that of the image's border, is wrong in most
images, and each image is wrong in its own way. A linear function of a CNN's features that predicts that prior over many
images keeps what the images share, which is the object, and drops what is of one image alone. The features that predict
are of larger strides than those that teach, so they cannot repeat the teacher's errors. No label and no box is used.

1. Targets: the mean of ``contrast`` of the colours and ``border`` of the fine features, each of unit variance.
2. Ridge regression of the targets on the features.
3. Once more, against the highest 8% of the regression's cells in each image and the lowest 80%, which sharpens it; the
   regression of the mirrored image is averaged in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdtr.model.maps import standardised

PENALTY, PENALTY_OF_REFIT = 3.0, 1.0  # in multiples of the mean variance of a feature
OBJECT, BACKGROUND = 0.08, 0.80  # shares of an image's cells, the highest and the lowest


def shared_direction(features: Tensor, mirrored: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Fit the direction in which objects differ from their surroundings.

    Args:
        features: (N, C, h, w), features of N images; float16 saves memory.
        mirrored: (N, C, h, w), features of the mirrored images.
        targets: Maps (N, h, w) of priors, higher on objects.

    Returns:
        (C,) float32, of unit length: its product with a cell's features is higher on objects.
    """
    mean, covariance = moments(features)
    wanted = torch.stack([standardised(target.float()) for target in targets]).mean(dim=0)
    direction = ridge(features, mean, covariance, wanted, PENALTY)
    found = along(features, direction) + along(mirrored, direction).flip(-1)
    direction = ridge(features, mean, covariance, contrasted(found), PENALTY_OF_REFIT)
    unit: Tensor = direction / direction.norm().clamp_min(torch.finfo(torch.float32).tiny)
    return unit


def contrasted(maps: Tensor) -> Tensor:
    """Make the targets of a second regression from the maps of a first.

    Args:
        maps: (N, h, w).

    Returns:
        (N, h, w), of mean 0 in each image: positive on its highest 8% of cells, negative on its lowest 80%, else 0.
    """
    flat = maps.flatten(1)
    low, high = torch.quantile(flat, torch.tensor([BACKGROUND, 1 - OBJECT], device=maps.device), dim=1)
    objects = (maps > high[:, None, None]).float() / OBJECT
    wanted: Tensor = objects - (maps < low[:, None, None]).float() / BACKGROUND
    return wanted


def along(features: Tensor, direction: Tensor) -> Tensor:
    """Compute the products (N, h, w) of features (N, C, h, w) with a direction (C,), image by image, in float32."""
    return torch.stack([torch.einsum("chw,c->hw", image.float(), direction) for image in features])


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Compute mean (C,) and covariance (C, C) of all cells of features (N, C, h, w), in float64."""
    channels = features.shape[1]
    total, squares, count = features.new_zeros(channels, dtype=torch.float64), 0, 0
    for image in features:
        cells = image.flatten(1).double()
        total = total + cells.sum(dim=1)
        squares = squares + cells @ cells.T
        count += cells.shape[1]
    mean = total / count
    covariance: Tensor = squares / count - torch.outer(mean, mean)
    return mean, covariance


def ridge(features: Tensor, mean: Tensor, covariance: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """Fit a ridge regression.

    Args:
        features: (N, C, h, w).
        mean: (C,), of the features' cells.
        covariance: (C, C), likewise.
        targets: (N, h, w).
        penalty: In multiples of the mean variance of a feature.

    Returns:
        (C,) float32.
    """
    centred = (targets - targets.mean()).double()
    product = torch.zeros_like(mean)
    for image, target in zip(features, centred, strict=True):
        product += (image.flatten(1).double() - mean[:, None]) @ target.flatten()
    weights: Tensor = torch.linalg.solve(damped(covariance, penalty, covariance), product / targets.numel())
    return weights.float()


def damped(covariance: Tensor, penalty: float, scale: Tensor) -> Tensor:
    """Add ``penalty`` times the mean of the diagonal of ``scale`` (C, C) to the diagonal of ``covariance`` (C, C)."""
    damping = penalty * scale.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny)
    return covariance + damping * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
