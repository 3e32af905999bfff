"""A vision transformer's patch convolution as one matrix product, for gradients that go on to the pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PatchProjection(nn.Module):
    """Computes a convolution without overlap and padding as a matrix product, with the same weight.

    On a CPU the gradient of the convolution to a 224 x 224 image takes about five times as long.

    Args:
        conv: The convolution, see ``is_patch_convolution``.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, images: Tensor) -> Tensor:
        """Compute (B, D, h, w) of images (B, 3, H, W); pixels beyond the last whole patch are dropped."""
        height, width = self.weight.shape[-2:]
        rows, columns = images.shape[-2] // height, images.shape[-1] // width
        whole = images[..., : rows * height, : columns * width]
        patches = whole.reshape(*images.shape[:2], rows, height, columns, width).permute(0, 2, 4, 1, 3, 5)
        return F.linear(patches.flatten(3), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def is_patch_convolution(module: object) -> bool:
    """Return whether ``PatchProjection`` can replace a module."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == module.stride
        and module.padding == (0, 0)
        and module.dilation == (1, 1)
        and module.groups == 1
    )
