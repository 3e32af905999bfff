"""A small U-Net that tells object from background, of no class. Not in the paper.

Reference: Ronneberger et al., "U-Net", MICCAI 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import Padding
from cdtr.model.norm import SyncedBatchNorm2d

_SHARES = (1, 2, 3, 4)  # of the width, at strides 2, 4, 8 and 16


class Segmenter(nn.Module):
    """Convolutions down to stride 16 and back to stride 2, with the maps of each stride joined on the way back.

    Args:
        width: Channels at stride 2; the other strides have two, three and four times as many.
        padding: Padding at the image's border.
    """

    def __init__(self, width: int = 32, padding: Padding = "replicate") -> None:
        super().__init__()
        widths = [width * share for share in _SHARES]
        inputs = [3, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(_layer(before, after, 2, padding), _layer(after, after, 1, padding))
            for before, after in zip(inputs, widths, strict=True)
        )
        coarse_to_fine = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(_layer(coarse + fine, fine, 1, padding) for coarse, fine in coarse_to_fine)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits of the object (B, H / 2, W / 2) from normalised images (B, 3, H, W), H and W at least 16."""
        seen: list[Tensor] = []
        maps = images
        for layers in self.down:
            maps = layers(maps)
            seen.append(maps)
        for layer, fine in zip(self.up, seen[-2::-1], strict=True):
            coarse = F.interpolate(maps, size=fine.shape[2:], mode="bilinear", align_corners=False)
            maps = layer(torch.cat([coarse, fine], dim=1))
        logits: Tensor = self.head(maps)
        return logits[:, 0]


def _layer(inputs: int, outputs: int, stride: int, padding: Padding) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False, padding_mode=padding),
        SyncedBatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
