"""HaS, Hide-and-Seek (Singh and Lee, ICCV 2017): CAM that learns from images with hidden squares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cdtr.config import Config, Padding
from cdtr.config.modules.cam import CamConfig
from cdtr.config.modules.has import HasConfig
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.methods.cam import Cam
from cdtr.model.sba import Sba

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"
_PUBLISHED_SIDE = 224  # pixels of the images that the sizes of cells are published for


class Has(Cam):
    """CAM whose images have hidden cells in training.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: The settings of CAM.
        hide: Sizes of the cells, and the share that is hidden.
        padding: Padding at the image's border.
    """

    keeps_features = False

    def __init__(
        self, backbone: CnnBackbone, classes: int, config: CamConfig, hide: HasConfig, padding: Padding = "zeros"
    ) -> None:
        super().__init__(backbone, classes, config, padding)
        self.hide = hide

    def features(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> Tensor:
        """What is classified, (B, D, h, w), of images (B, 3, H, W)."""
        seen = hide_cells(images, self.hide.cells, self.hide.share) if self.training else images
        return super().features(seen, levels)


def hide_cells(images: Tensor, cells: Sequence[int], share: float) -> Tensor:
    """Set random cells of a grid to the data's mean, which is 0 once images are normalised.

    Args:
        images: (B, 3, H, W), normalised.
        cells: Sides of a cell in pixels of an image of 224, one of which is drawn for each image; 0 hides nothing.
        share: Probability that a cell is hidden.

    Returns:
        New images of the same shape.
    """
    height, width = images.shape[2:]
    kept = torch.ones(len(images), 1, height, width, dtype=images.dtype, device=images.device)
    for index in range(len(images)):
        drawn = cells[int(torch.randint(len(cells), ()))]
        side = round(drawn * min(height, width) / _PUBLISHED_SIDE)
        if side:
            shown = (torch.rand(-(-height // side), -(-width // side)) >= share).to(kept)
            grown = shown.repeat_interleave(side, dim=0).repeat_interleave(side, dim=1)
            kept[index, 0] = grown[:height, :width]
    return images * kept


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Has:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Has(backbone, classes, config.section(CamConfig), config.section(HasConfig), config.maps.padding)
