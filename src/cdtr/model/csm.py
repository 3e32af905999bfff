"""Category-aware Stimulation Module: class maps from the attention maps alone (section III-C, Eq. 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import CsmConfig, Padding
from cdtr.errors import ConfigError
from cdtr.model.maps import class_loss
from cdtr.model.norm import conv_norm_act


class Csm(nn.Module):
    """An encoder-decoder over the class token's attention maps of all blocks and heads, with a class head.

    The encoder halves the grid and has ``width_factor * G`` channels. The decoder takes the encoder's output joined
    with its input and has C channels, which gives the parameter count that the paper reports.

    Args:
        maps: Number of attention maps, L * S.
        classes: Number of classes C.
        config: The settings of CSM.
        padding: Padding mode of the convolutions at the image's border.
    """

    def __init__(self, maps: int, classes: int, config: CsmConfig, padding: Padding = "zeros") -> None:
        super().__init__()
        width = config.g * config.width_factor
        self.factor2 = config.upsample == "factor2"
        self.encoder = nn.Sequential(
            conv_norm_act(maps, width, 3, config.norm, padding=padding),
            conv_norm_act(width, width, 3, config.norm, padding=padding),
        )
        self.decoder = nn.Sequential(
            conv_norm_act(maps + width, classes, 3, config.norm, padding=padding),
            conv_norm_act(classes, classes, 3, config.norm, padding=padding),
        )
        self.head = nn.Conv2d(classes, classes, 1, bias=False)

    def forward(self, attention: Tensor) -> Tensor:
        """Compute the class maps ``X_csm``.

        Runs in float32: attention varies by a few percent of 1 / hw, of which 16 bits keep little.

        Args:
            attention: (B, L, S, h, w), the class token's attention over the patches.

        Returns:
            (B, C, h, w), class maps; their mean over the grid gives the class logits.

        Raises:
            ConfigError: ``csm.upsample`` is ``factor2`` and the grid is odd.
        """
        with torch.autocast(attention.device.type, enabled=False):
            return self._class_maps(attention.float().flatten(1, 2))

    def loss(self, csm_logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute ``L_csm`` of Eq. 4, the cross-entropy of CSM's class logits.

        Args:
            csm_logits: (B, C), the mean of ``X_csm`` over the grid.
            labels: (B,) int64.
            weights: (B,), of the images; None if all weigh the same.

        Returns:
            A scalar, the mean over the batch.
        """
        return class_loss(csm_logits, labels, weights)

    def _class_maps(self, x_a: Tensor) -> Tensor:
        height, width = x_a.shape[-2:]
        if self.factor2 and (height % 2 or width % 2):
            raise ConfigError(
                f"csm.upsample factor2 needs an even grid, found {height}x{width}: use csm.upsample size, "
                "or change data.input_size"
            )
        x_e = self.encoder(F.max_pool2d(x_a, 2) if min(x_a.shape[-2:]) > 1 else x_a)
        size = (x_e.shape[-2] * 2, x_e.shape[-1] * 2) if self.factor2 else x_a.shape[-2:]
        x_e = F.interpolate(x_e, size=size, mode="bilinear", align_corners=False)
        x_csm: Tensor = self.head(self.decoder(torch.cat([x_a, x_e], dim=1)))
        return x_csm
