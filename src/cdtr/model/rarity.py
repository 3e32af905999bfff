"""Where an image differs from most of itself: a cue for the object that needs neither labels nor pretrained weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def rarity(features: Tensor, blur: int = 3) -> Tensor:
    """How few patches of its own image are like a patch: an object covers less of an image than what is around it.

    features: (B, D, h, w), local descriptors; detached here. Answers (B, h, w) in [-1, 0]: minus the share of
    patches whose descriptor, less the image's mean, has a positive cosine with it. This is the inverse degree
    by which LOST finds its seed (Simeoni et al., BMVC 2021), averaged over ``blur`` x ``blur`` patches.
    """
    batch, _, height, width = features.shape
    flat = features.detach().float().flatten(2)
    unit = F.normalize(flat - flat.mean(dim=2, keepdim=True), dim=1)
    alike = (unit.transpose(1, 2) @ unit > 0).float().mean(dim=2).reshape(batch, 1, height, width)
    padded = F.pad(alike, (blur // 2,) * 4, mode="replicate")
    return -F.avg_pool2d(padded, blur, stride=1).squeeze(1)
