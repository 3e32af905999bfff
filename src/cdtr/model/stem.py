"""A convolutional patch embedding: early convolutions help small transformers on small data (Xiao et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from cdtr.config import Padding
from cdtr.errors import ConfigError
from cdtr.model.norm import SyncedBatchNorm2d


class ConvStem(nn.Module):
    """Stride-2 3x3 convolutions down to the patch grid, then a 1x1 convolution, as ``embed_layer`` of timm.

    Args:
        img_size: Height and width of the images in pixels.
        patch_size: Side of a patch in pixels, a power of two.
        in_chans: Channels of the images.
        embed_dim: Length of a token.
        padding: Padding at the image's border.

    Raises:
        ConfigError: The patch size is no power of two.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        padding: Padding = "zeros",
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
        widths = [max(embed_dim // 2 ** (steps - 1 - step), 16) for step in range(steps)]
        self.convs = halving_layers(in_chans, widths, padding)
        self.proj = nn.Conv2d(widths[-1], embed_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the patch tokens (B, h * w, embed_dim) of images (B, 3, H, W)."""
        patches: Tensor = self.proj(self.convs(images))
        return patches.flatten(2).transpose(1, 2)


def halving_layers(channels: int, widths: Sequence[int], padding: Padding = "zeros") -> nn.Sequential:
    """Build 3x3 convolutions of stride 2, batch norm and ReLU, one for each width.

    All but the last are padded at the bottom and right only, which centres a cell on the middle of its patch, to half a
    pixel. With padding on both sides it would be centred on the first pixel, and maps and boxes would be shifted by
    half a patch. Padding with zeros acts as an edge and lowers the maps along the border.

    Args:
        channels: Channels of the input.
        widths: Channels after each convolution.
        padding: Padding at the border.

    Returns:
        Layers from (B, C, H, W) to (B, widths[-1], h, w).
    """
    pad = nn.ReplicationPad2d if padding == "replicate" else nn.ZeroPad2d
    layers: list[nn.Module] = []
    for index, width in enumerate(widths):
        last = index + 1 == len(widths)
        layers += [
            pad((1, 0, 1, 0) if last else (0, 1, 0, 1)),
            nn.Conv2d(channels, width, 3, stride=2, bias=False),
            SyncedBatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    return nn.Sequential(*layers)
