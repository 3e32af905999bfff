"""Object priors: where an object may be, from differences between patches, without labels or pretrained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def border(features: Tensor) -> Tensor:
    """Score how much a patch differs from the image's border, which is mostly background.

    The object may cover most of the image, if most of the border is background.

    Args:
        features: (B, D, h, w), local descriptors; detached here.

    Returns:
        (B, h, w) in [-1, 1]: minus the mean cosine of a patch's descriptor with those of the outermost patches, after
        the image's mean is subtracted.

    Reference: the boundary prior of Wei et al., ECCV 2012.
    """
    unit = _directions(features)
    # The mean of cosines is the product with the mean direction.
    return -torch.einsum("bdhw,bd->bhw", unit, _border_mean(unit))


def contrast(colours: Tensor) -> Tensor:
    """Score how far a patch's colour is from the border's, for objects of another brightness or colour.

    Unlike ``border`` it has degrees: a bright spot in a grey object on black has a higher score than the object.

    Args:
        colours: (B, D, h, w), the patches' mean colours; detached here.

    Returns:
        (B, h, w) in [0, 1]: the distance from the mean of the outermost patches, divided by the image's largest.
    """
    exact = colours.detach().float()
    distance: Tensor = torch.linalg.vector_norm(exact - _border_mean(exact)[:, :, None, None], dim=1)
    return distance / distance.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def rarity(features: Tensor, blur: int = 3) -> Tensor:
    """Score how few patches of the image are similar to a patch: an object covers less than its background.

    Args:
        features: (B, D, h, w), local descriptors; detached here.
        blur: Side of the window that the scores are averaged over, in patches.

    Returns:
        (B, h, w) in [-1, 0]: minus the share of patches whose descriptor has a positive cosine with the patch's, after
        the image's mean is subtracted.

    Reference: the inverse degree of LOST, Simeoni et al., BMVC 2021.
    """
    unit = _directions(features)
    flat = unit.flatten(2)
    alike = (flat.transpose(1, 2) @ flat > 0).float().mean(dim=2).reshape(len(unit), 1, *unit.shape[2:])
    padded = F.pad(alike, (blur // 2,) * 4, mode="replicate")
    return -F.avg_pool2d(padded, blur, stride=1).squeeze(1)


PRIORS: Mapping[str, Callable[[Tensor], Tensor]] = {"border": border, "contrast": contrast, "rarity": rarity}
OF_COLOURS: frozenset[str] = frozenset({"contrast"})  # the others compare learned features


def _border_mean(descriptors: Tensor) -> Tensor:
    """Average (B, D, h, w) over the outermost patches, to (B, D)."""
    outermost = torch.ones(descriptors.shape[2:], dtype=torch.bool, device=descriptors.device)
    outermost[1:-1, 1:-1] = False
    return descriptors[:, :, outermost].mean(dim=2)


def _directions(features: Tensor) -> Tensor:
    """Subtract the image's mean from each descriptor of (B, D, h, w) and scale to unit length; the mean becomes 0."""
    exact = features.detach().float()
    return F.normalize(exact - exact.mean(dim=(2, 3), keepdim=True), dim=1)
