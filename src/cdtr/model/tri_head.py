"""The head of TriLite: foreground, background and ambiguous patches (Sabaghi and Oramas, CVPR 2026)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import Padding
from cdtr.model.norm import SyncedBatchNorm2d

_TINY = 1e-6  # beside the sum of a channel, which may be empty
_LEAST = 1e-7  # of 1 - p, so that its logarithm is finite


@dataclass(frozen=True, slots=True)
class Division:
    """Output of the head.

    Attributes:
        shares: (B, 3, h, w) float32, sum to 1 over foreground, background and ambiguous.
        foreground: (B, C), class scores of the mean foreground patch.
        background: (B, C), those of the mean background patch.
    """

    shares: Tensor
    foreground: Tensor
    background: Tensor


class TriHead(nn.Module):
    """Divides the patches into three channels, and classifies what two of them hold.

    Args:
        dim: Number of channels D of a patch.
        classes: Number of classes C.
        dropout: Share of the pooled features that training drops before the classifier.
        padding: Padding of the convolution at the image's border.
    """

    def __init__(self, dim: int, classes: int, dropout: float, padding: Padding = "zeros") -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, 3, 3, padding=1, padding_mode=padding, bias=False)
        self.norm = SyncedBatchNorm2d(3)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(dim, classes)

    def forward(self, patches: Tensor) -> Division:
        """Divide patches (B, D, h, w)."""
        shares = self.norm(self.conv(patches)).float().softmax(dim=1)
        pooled = torch.einsum("bkhw,bdhw->bkd", shares[:, :2], patches.float())
        pooled = pooled / (shares[:, :2].sum(dim=(2, 3)) + _TINY)[..., None]
        scores = self.classifier(self.dropout(pooled)).float()
        return Division(shares, scores[:, 0], scores[:, 1])

    def class_maps(self, patches: Tensor) -> Tensor:
        """The classifier's scores of each patch (B, D, h, w), (B, C, h, w)."""
        weight = self.classifier.weight[:, :, None, None]
        return F.conv2d(patches.float(), weight, self.classifier.bias)


def absence_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Compute ``-log(1 - p)`` of the labels' probabilities: lowest where the class cannot be told.

    Args:
        scores: (B, C), class scores of the background.
        labels: (B,) int64.

    Returns:
        (B,) float32, at most 16.2.
    """
    probability = scores.float().softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
    return -torch.log(1 - probability + _LEAST)
