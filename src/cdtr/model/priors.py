"""Where an image's object may be, from how its patches differ: cues without labels or pretrained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import Prior


def border(features: Tensor) -> Tensor:
    """How unlike the image's border a patch is: what touches the border is mostly background.

    features: (B, D, h, w), local descriptors; detached here. Answers (B, h, w) in [-1, 1]: minus the mean cosine of a
    patch's descriptor with those of the outermost patches, each less the image's mean. The boundary prior of saliency
    detection (Wei et al., ECCV 2012). An object may cover most of the image, as long as it leaves most of the border.
    """
    unit = _directions(features)
    # The mean of cosines is the product with the mean direction.
    return -torch.einsum("bdhw,bd->bhw", unit, _border_mean(unit))


def contrast(colours: Tensor) -> Tensor:
    """How far a patch's colour is from the border's: for objects that are brighter or of another colour than all else.

    colours: (B, D, h, w), the patches' mean colours; detached here. Answers (B, h, w) in [0, 1]: the distance from the
    mean of the outermost patches, as a share of the image's largest. Unlike ``border`` it tells degrees of being
    unlike: a bright spot in a grey object on black stands out from the object.
    """
    exact = colours.detach().float()
    distance: Tensor = torch.linalg.vector_norm(exact - _border_mean(exact)[:, :, None, None], dim=1)
    return distance / distance.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def rarity(features: Tensor, blur: int = 3) -> Tensor:
    """How few patches of its own image are like a patch: an object covers less of an image than what is around it.

    features: (B, D, h, w), local descriptors; detached here. Answers (B, h, w) in [-1, 0]: minus the share of
    patches whose descriptor, less the image's mean, has a positive cosine with it. This is the inverse degree
    by which LOST finds its seed (Simeoni et al., BMVC 2021), averaged over ``blur`` x ``blur`` patches.
    """
    unit = _directions(features)
    flat = unit.flatten(2)
    alike = (flat.transpose(1, 2) @ flat > 0).float().mean(dim=2).reshape(len(unit), 1, *unit.shape[2:])
    padded = F.pad(alike, (blur // 2,) * 4, mode="replicate")
    return -F.avg_pool2d(padded, blur, stride=1).squeeze(1)


PRIORS: Mapping[Prior, Callable[[Tensor], Tensor]] = {"border": border, "contrast": contrast, "rarity": rarity}
OF_COLOURS: frozenset[Prior] = frozenset({"contrast"})  # the others compare learned features


def _border_mean(descriptors: Tensor) -> Tensor:
    """(B, D, h, w) to (B, D), over the outermost patches."""
    outermost = torch.ones(descriptors.shape[2:], dtype=torch.bool, device=descriptors.device)
    outermost[1:-1, 1:-1] = False
    return descriptors[:, :, outermost].mean(dim=2)


def _directions(features: Tensor) -> Tensor:
    """Each descriptor of (B, D, h, w) less the image's mean, at unit length; zero where it is the mean."""
    exact = features.detach().float()
    return F.normalize(exact - exact.mean(dim=(2, 3), keepdim=True), dim=1)
