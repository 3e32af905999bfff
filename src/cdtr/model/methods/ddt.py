"""DDT, Deep Descriptor Transformation (Wei et al., Pattern Recognition 2019): maps without training.

The map of a class is the projection of the features on the first principal component of all cells of the class's
training images. ``cdtr.training.cnn_methods`` fits it before the first step; training teaches a classifier alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import Config, Padding
from cdtr.config.modules.cam import CamConfig
from cdtr.errors import ConfigError, DataError
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.ddt_fit import Descriptors, object_direction
from cdtr.model.methods.cam import Cam
from cdtr.model.sba import Sba
from cdtr.records import ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"


class Ddt(Cam):
    """Maps by a direction in the features of a frozen CNN, class scores by CAM's classifier.

    Args:
        backbone: The CNN, frozen.
        classes: Number of classes C.
        config: The settings of CAM's classifier.
        padding: Padding at the image's border.

    Attributes:
        directions: (C, D), of unit length; zeros until ``set_directions``.
        offsets: (C,), the score of the mean descriptor.

    Raises:
        ConfigError: The CNN is not frozen.
    """

    directions: Tensor
    offsets: Tensor

    def __init__(
        self, backbone: CnnBackbone, classes: int, config: CamConfig | None = None, padding: Padding = "zeros"
    ) -> None:
        super().__init__(backbone, classes, config, padding)
        if not backbone.frozen:
            raise ConfigError(
                "method ddt fits its maps to the features before training: set backbone.frozen=true, and "
                "backbone.weights to package, hub or a file"
            )
        self.register_buffer("directions", torch.zeros(classes, backbone.dim))
        self.register_buffer("offsets", torch.zeros(classes))

    def set_directions(self, of_classes: Iterable[Descriptors]) -> int:
        """Take a direction for each class; classes with few cells take that of all.

        Args:
            of_classes: The sums over the training images of each class, of which one at a time is kept.

        Returns:
            Number of classes with a direction of their own.

        Raises:
            DataError: There is no image.
        """
        everything = Descriptors.empty(self.directions.shape[1], self.directions.device)
        small = []
        for label, sums in enumerate(of_classes):
            everything.add(sums)
            if sums.enough():
                self._set(label, *object_direction(sums))
            else:
                small.append(label)
        if not everything.images:
            raise DataError("none of the training images can be read: replace or delete the files")
        if small:
            mean, direction = object_direction(everything)
            for label in small:
                self._set(label, mean, direction)
        return len(self.directions) - len(small)

    def _set(self, label: int, mean: Tensor, direction: Tensor) -> None:
        self.directions[label] = direction
        self.offsets[label] = direction @ mean

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores as ``Cam``, and maps (B, C, h, w), positive on the object."""
        known = self.backbone.levels(images) if levels is None else levels
        output = super().forward(images, auxiliary, known)
        features = self.backbone(images, known)[-1]
        return replace(output, maps=F.conv2d(features, self.directions[:, :, None, None], -self.offsets))


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> Ddt:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return Ddt(backbone, classes, config.section(CamConfig), config.maps.padding)
