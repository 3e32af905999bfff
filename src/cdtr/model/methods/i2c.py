"""I2C, inter-image communication (Zhang et al., ECCV 2020): CAM whose objects of one class look alike.

Places that are surely on the object have similar features in two images of a class, and in all images of the class,
whose centre is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from cdtr.config import Config, Padding
from cdtr.config.modules.cam import CamConfig
from cdtr.config.modules.i2c import I2cConfig
from cdtr.errors import ConfigError
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.model.cnn_method import of_labels
from cdtr.model.maps import scale_maps
from cdtr.model.methods.cam import Cam
from cdtr.model.sba import Sba
from cdtr.records import Batch, ModelOutput

MODULES: frozenset[str] = frozenset()
BACKBONE = "cnn"
_IMAGES_A_CLASS = 2  # of a batch without pairs, on average, from which on there are enough by chance


class I2c(Cam):
    """CAM with terms of seeds in pairs of images.

    Args:
        backbone: The CNN.
        classes: Number of classes C.
        config: The settings of CAM.
        settings: The settings of I2C.
        padding: Padding at the image's border.

    Attributes:
        bank: (C, D), the centre of the seeds of each class.
        visits: (C,), steps that had a pair of the class.
    """

    bank: Tensor
    visits: Tensor

    def __init__(
        self, backbone: CnnBackbone, classes: int, config: CamConfig, settings: I2cConfig, padding: Padding = "zeros"
    ) -> None:
        super().__init__(backbone, classes, config, padding)
        self.settings = settings
        self.register_buffer("bank", torch.randn(classes, backbone.dim))
        self.register_buffer("visits", torch.zeros(classes))

    def check_training(self, counts: Sequence[int], config: Config) -> None:
        """Refuse classes with one image, and batches that would have hardly any pair of images of a class."""
        if 1 in counts:
            raise ConfigError(
                f"method i2c compares two images of a class, and class number {counts.index(1)} has one training image "
                "(data.holdout takes some): add another, or leave the class out"
            )
        if not config.data.pairs and config.train.batch_size < _IMAGES_A_CLASS * len(counts):
            raise ConfigError(
                f"method i2c compares two images of a class, and batches of {config.train.batch_size} of {len(counts)} "
                "classes have few such pairs: set data.pairs=true"
            )

    def forward(
        self, images: Tensor, auxiliary: bool | None = None, levels: Sequence[Tensor] | None = None
    ) -> ModelOutput:
        """Compute class scores and class maps as ``Cam``; in training with the averaged ``features`` (B, D, h, w)."""
        known = self.backbone.levels(images) if levels is None else levels
        if not self.training:
            return super().forward(images, auxiliary, known)
        smooth = F.avg_pool2d(self.backbone(images, known)[-1], 3, stride=1, padding=1, count_include_pad=False)
        return self.output(self.features(images, known), {"features": smooth})

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute ``cls``, ``local`` between the images of pairs, ``global`` to the centres; these move afterwards."""
        terms, aux = super().losses(output, batch), output.aux
        if "features" not in aux:
            return terms
        scaled = of_labels(aux["x_out"].detach(), batch.labels)
        seeds = torch.stack(
            [
                features.flatten(1)[:, draw_seeds(object_cells(own, self.settings), self.settings.seeds)]
                for features, own in zip(aux["features"].float(), scaled, strict=True)
            ]
        )
        pairs = pairs_of(batch.labels)
        first, second = pairs
        labels = batch.labels[first]
        local = (seeds[first] - seeds[second]).norm(dim=1).mean() if len(first) else seeds.sum() * 0
        middles = (seeds[first].mean(dim=2) + seeds[second].mean(dim=2)) / 2
        known = self.bank[labels].clone()
        to_centre = (known - middles).norm(dim=1).mean() if len(first) else seeds.sum() * 0
        self._move_centres(middles.detach(), labels)
        return terms | {"local": local, "global": to_centre}

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Return the sum under the fixed weights of the settings, and no lambdas."""
        weights = {"local": self.settings.local_weight, "global": self.settings.global_weight}
        return torch.stack([weights.get(name, 1.0) * term.float() for name, term in terms.items()]).sum(), {}

    @torch.no_grad()
    def _move_centres(self, middles: Tensor, labels: Tensor) -> None:
        """Move each class's centre to the mean seed (P, D) of its pairs, of all processes, by a falling rate."""
        sums = torch.zeros_like(self.bank).index_add_(0, labels, middles)
        counts = torch.zeros_like(self.visits).index_add_(0, labels, torch.ones_like(labels, dtype=sums.dtype))
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        rates = torch.exp(-self.settings.rate * self.visits) * (counts > 0)
        self.bank.lerp_(sums / counts.clamp_min(1)[:, None], rates[:, None])
        self.visits += counts > 0


def object_cells(class_map: Tensor, config: I2cConfig) -> Tensor:
    """Choose the cells that are surely on the object.

    Args:
        class_map: (h, w), of the label, of any sign and scale.
        config: Cells above ``threshold`` of the map scaled to [0, 1]; where these are fewer than ``least``, those above
            the threshold times the largest value of the map without its negative part.

    Returns:
        Their indices in the flat map, at least one.
    """
    chosen = scale_maps(class_map).flatten() > config.threshold
    flat = class_map.flatten().clamp_min(0)
    if int(chosen.sum()) < config.least and float(flat.amax()) > 0:
        chosen = flat > config.threshold * flat.amax()
    if not bool(chosen.any()):
        chosen[:] = True
    return chosen.nonzero().flatten()


def draw_seeds(cells: Tensor, count: int) -> Tensor:
    """Draw ``count`` cells at random, each once unless there are fewer."""
    order = torch.randperm(len(cells))
    return cells[order[torch.arange(count) % len(cells)].to(cells.device)]


def pairs_of(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Pair images of one class, in their order: first with second, third with fourth.

    Args:
        labels: (B,) int64.

    Returns:
        The indices (P,) of the first images and those of the second ones.
    """
    waiting: dict[int, int] = {}
    found: list[tuple[int, int]] = []
    for index, label in enumerate(labels.tolist()):
        if label in waiting:
            found.append((waiting.pop(label), index))
        else:
            waiting[label] = index
    pairs = torch.tensor(found, dtype=torch.int64, device=labels.device).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def build(config: Config, classes: int, backbone: CnnBackbone, sba: Sba | None) -> I2c:
    """Build the method for the classes of a data set; ``sba`` is not used."""
    return I2c(backbone, classes, config.section(CamConfig), config.section(I2cConfig), config.maps.padding)
