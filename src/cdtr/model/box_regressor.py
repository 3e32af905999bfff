"""A network that regresses the box of an image's object, of no class, and the map that stands for a box.

Reference: Zhang et al., "Rethinking the Route Towards Weakly Supervised Object Localization" (PSOL), CVPR 2020. Theirs
is a whole CNN with global pooling and four sigmoids. On the frozen features of a few hundred images that, and linear
layers on all cells, regress to the mean box; a softmax over the cells for each side of the box does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import Padding
from cdtr.model.cnn import CnnFeatures, LevelConv
from cdtr.model.norm import SyncedBatchNorm2d

_STRIDES = 3  # convolutions of stride 2 over the pixels
_SIDES = 4  # left, top, right, bottom
_STRETCH = 1.08  # of places around the middle: a mean over cells does not reach the image's border
_DROPOUT = 0.1
_BETA = 0.05  # share of the image, where smooth L1 turns from squares to lines
_LEAST_SIDE = 0.02  # share of the image: a smaller box could lie between the cells of its map


class BoxRegressor(nn.Module):
    """Convolutions to one map for each side of the box; a side lies at the mean place under the softmax of its map.

    Args:
        features: The frozen CNN whose feature maps are looked at; None to look at the pixels.
        width: Channels.
        padding: Padding at the image's border.
    """

    def __init__(self, features: CnnFeatures | None, width: int = 32, padding: Padding = "replicate") -> None:
        super().__init__()
        self.join = None if features is None else LevelConv(features, width)
        layers: list[nn.Module] = [SyncedBatchNorm2d(width), nn.ReLU(inplace=True)]
        if features is None:
            inputs = (3, *(width,) * (_STRIDES - 1))
            layers = [layer for count in inputs for layer in _layers(count, width, 2, padding)]
        self.convs = nn.Sequential(*layers, *_layers(width, width, 1, padding), nn.Dropout2d(_DROPOUT))
        self.head = nn.Conv2d(width, _SIDES, 3, padding=1, padding_mode=padding)

    def forward(self, images: Tensor, features: CnnFeatures | None, levels: Sequence[Tensor] | None = None) -> Tensor:
        """Regress boxes (B, 4): centre x and y, width and height, as shares of the image.

        Args:
            images: (B, 3, H, W), normalised; not looked at where there are features.
            features: The frozen CNN that the regressor was built for.
            levels: Its feature maps of the images, if they are known already.
        """
        known = self.join is not None and features is not None
        seen = self.join(features, features(images, levels)) if known else images  # type: ignore[misc]
        maps = self.head(self.convs(seen)).float()
        shares = maps.flatten(2).softmax(dim=2).view_as(maps)
        ends = [_STRETCH * (self._places(shares, side) - 0.5) + 0.5 for side in range(_SIDES)]
        corners = torch.stack(ends, dim=1)
        return torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, (corners[:, 2:] - corners[:, :2])], dim=1)

    @staticmethod
    def _places(shares: Tensor, side: int) -> Tensor:
        """The mean place (B,) of one side along its axis, in (0, 1)."""
        along = shares[:, side].sum(dim=1 if side % 2 == 0 else 2)
        cells = along.shape[1]
        places = (torch.arange(cells, device=along.device, dtype=along.dtype) + 0.5) / cells
        return (along * places).sum(dim=1)


def _layers(inputs: int, outputs: int, stride: int, padding: Padding) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False, padding_mode=padding)
    return [conv, SyncedBatchNorm2d(outputs), nn.ReLU(inplace=True)]


def box_maps(boxes_cxcywh: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Draw each box as a map that gives it back at a threshold of 0.5, and to a cell at 0.1 to 0.9.

    A cell has 1 inside of the box, 0 outside, and between them the share of the last cell that lies in the box. The
    first cell of a box that covers the whole image is left out, as a map of one value would show nothing.

    Args:
        boxes_cxcywh: (B, 4), shares of the image. A side has at least 0.02, and boxes end at the image's border.
        size_hw: Rows and columns of the map.

    Returns:
        (B, h, w) in [0, 1].
    """
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:].clamp_min(_LEAST_SIDE) / 2
    found = []
    for axis, cells in ((1, size_hw[0]), (0, size_hw[1])):
        places = (torch.arange(cells, device=centre.device, dtype=centre.dtype) + 0.5) / cells
        inside = half[:, axis, None] - (places - centre[:, axis, None]).abs()
        found.append((0.5 + cells * inside).clamp(0, 1))
    rows, columns = found
    maps = rows[:, :, None] * columns[:, None]
    whole = (maps.flatten(1).amin(dim=1) > 0).to(maps.dtype)
    first = F.pad(maps.new_ones(1, 1), (0, size_hw[1] - 1, 0, size_hw[0] - 1))
    return maps * (1 - whole[:, None, None] * first)


def boxes_of_masks(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Find the box around the object of each mask, as it was cropped and mirrored with its image.

    Args:
        masks: (B, H, W) in [0, 1], of one box each; shares of pixels at its edges count as such.

    Returns:
        Boxes (B, 4), centre x and y, width and height as shares; and (B,), 1 where there is an object, else 0.
    """
    centres, sides = [], []
    for profile in (masks.amax(dim=1), masks.amax(dim=2)):
        cells = profile.shape[1]
        places = (torch.arange(cells, device=masks.device, dtype=masks.dtype) + 0.5) / cells
        total = profile.sum(dim=1)
        centres.append((profile * places).sum(dim=1) / total.clamp_min(1e-6))
        sides.append(total / cells)
    return torch.stack([*centres, *sides], dim=1), (sides[0] > 0).to(masks.dtype)


def box_loss(boxes_cxcywh: Tensor, targets_cxcywh: Tensor, weights: Tensor) -> Tensor:
    """Smooth L1 of the four numbers, four times, and 1 less the generalised IoU (Rezatofighi et al., CVPR 2019).

    Args:
        boxes_cxcywh: (B, 4), shares of the image.
        targets_cxcywh: (B, 4), likewise.
        weights: (B,), of the images; the loss is the mean weighed by them, 0 where all are 0.
    """
    distance = F.smooth_l1_loss(boxes_cxcywh, targets_cxcywh, beta=_BETA, reduction="none").mean(dim=1)
    each = 4 * distance + 1 - _generalised_iou(_corners(boxes_cxcywh), _corners(targets_cxcywh))
    return (each * weights).sum() / weights.sum().clamp_min(1)


def _corners(boxes_cxcywh: Tensor) -> Tensor:
    centre, half = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:].clamp_min(0) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU (B,) in (-1, 1] of boxes (B, 4) by their corners."""
    areas = [(one[:, 2:] - one[:, :2]).prod(dim=1) for one in (a, b)]
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0).prod(dim=1)
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(dim=1)
    union = areas[0] + areas[1] - shared
    found: Tensor = shared / union.clamp_min(1e-6) - (around - union) / around.clamp_min(1e-6)
    return found
