"""What methods on a CNN share: the backbone, the checks before training, and the class-agnostic map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cdtr.config import Config, Padding
from cdtr.errors import ConfigError
from cdtr.model.cnn_backbone import CnnBackbone
from cdtr.records import Method


class CnnMethod(Method):
    """A method that looks at a CNN alone.

    ``forward`` takes ``levels``, feature maps of the images that are known already, beside the images.

    Args:
        backbone: The CNN.
        levels: How many of its last levels the method looks at.

    Attributes:
        keeps_features: Whether a frozen CNN computes the same for an image in every step, so that it can be kept.
    """

    keeps_features = True

    def __init__(self, backbone: CnnBackbone, levels: int = 1) -> None:
        super().__init__()
        backbone.take(levels, type(self).__name__.lower())
        self.backbone = backbone

    def check_training(self, counts: Sequence[int], config: Config) -> None:
        """Refuse data that the method cannot learn from, before the first step; by default none.

        Args:
            counts: Training images of each class.
            config: The settings.

        Raises:
            ConfigError: Says what is missing.
        """
        return


def neck_layers(inputs: int, width: int, count: int, padding: Padding) -> nn.Sequential:
    """Build ``count`` 3x3 convolutions of ``width`` channels, each with a ReLU."""
    layers: list[nn.Module] = []
    for number in range(count):
        before = width if number else inputs
        layers += [nn.Conv2d(before, width, 3, padding=1, padding_mode=padding), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def strength(features: Tensor, rectified: bool) -> Tensor:
    """Compute how strong the features of each place are, of no class.

    Args:
        features: (B, D, h, w).
        rectified: Whether they are nowhere negative.

    Returns:
        (B, h, w), not negative: the mean over channels of rectified features, as in ADL, else their norm.
    """
    return features.mean(dim=1) if rectified else features.norm(dim=1)


def strongest(maps: Tensor, share: float) -> Tensor:
    """Where the mean over channels of maps (B, D, h, w) is at least ``share`` of its largest value, (B, 1, h, w)."""
    mean = maps.mean(dim=1, keepdim=True)
    return mean >= share * mean.amax(dim=(2, 3), keepdim=True)


def of_labels(maps: Tensor, labels: Tensor) -> Tensor:
    """The map (B, h, w) of each image's label in class maps (B, C, h, w)."""
    # Indexing with a range would fix the size of the batch in an exported graph.
    return maps.gather(1, labels[:, None, None, None].expand(-1, 1, *maps.shape[2:]))[:, 0]


def require_tuned(backbone: CnnBackbone, method: str) -> None:
    """Raise ConfigError for a frozen CNN, whose features erasing cannot change."""
    if backbone.frozen:
        raise ConfigError(
            f"method {method} erases features so that the CNN learns others, and backbone.frozen keeps it as it is: "
            "set backbone.frozen=false"
        )
