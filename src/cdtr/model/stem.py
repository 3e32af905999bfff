"""A convolutional patch embedding: early convolutions help small transformers on small data (Xiao et al. 2021)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cdtr.errors import ConfigError
from cdtr.model.norm import SyncedBatchNorm2d


class ConvStem(nn.Module):
    """Stride-2 3x3 convolutions down to the patch grid, then a 1x1 to the width; takes timm's ``embed_layer`` place.

    (B, 3, H, W) to (B, h * w, embed_dim). The patch size must be a power of two.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        **_: Any,
    ) -> None:
        super().__init__()
        steps = int(patch_size).bit_length() - 1
        if 2**steps != patch_size or steps < 1:
            raise ConfigError(f"backbone.stem conv needs a patch size that is a power of two, found {patch_size}")
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.patch_size = (patch_size, patch_size)
        self.img_size = (height, width)
        self.grid_size = (height // patch_size, width // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        layers: list[nn.Module] = []
        channels = in_chans
        for step in range(steps):
            wider = max(embed_dim // 2 ** (steps - 1 - step), 16)
            layers += [
                nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False),
                SyncedBatchNorm2d(wider),
                nn.ReLU(inplace=True),
            ]
            channels = wider
        self.convs = nn.Sequential(*layers)
        self.proj = nn.Conv2d(channels, embed_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.proj(self.convs(images))
        return patches.flatten(2).transpose(1, 2)
