"""The teacher of `cdtr pretrain`: a frozen CNN, with ImageNet weights from an installed package or of timm."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import DataConfig, PretrainConfig
from cdtr.errors import ConfigError
from cdtr.model.hub_weights import not_fetched
from cdtr.model.packaged import load_packaged
from cdtr.model.weights import check_fit, read_state_dict


class Teacher:
    """A frozen CNN with a classifier. Not a module: it is neither trained nor saved with the method.

    Build one with ``load_teacher``.

    Args:
        model: A CNN of timm.
        data: The settings of the data, for the normalisation of the images.
        size_hw: Height and width of the CNN's input in pixels; None for those of the images.

    Attributes:
        classes: Number of its classes K.
        features: Number of channels F of its last feature map.

    Raises:
        ConfigError: The model has no feature map or no classes.
    """

    def __init__(self, model: nn.Module, data: DataConfig, size_hw: tuple[int, int] | None = None) -> None:
        cnn: Any = model.eval().requires_grad_(False)
        # Three times as fast on a CPU, and faster on a GPU too.
        self._model = cnn.to(memory_format=torch.channels_last)
        self._size_hw = size_hw
        self._mean, self._std = (torch.tensor(v)[:, None, None] for v in (data.mean, data.std))
        self._own_mean, self._own_std = (
            torch.tensor(cnn.pretrained_cfg[key])[:, None, None] for key in ("mean", "std")
        )
        self.classes = int(cnn.num_classes)
        unfit = (
            f"pretrain.teacher {cnn.pretrained_cfg.get('architecture')} returns no feature map or no classes: "
            "choose a convolutional network such as tf_efficientnet_lite0 or resnet50"
        )
        try:
            with torch.no_grad():
                features = cnn.forward_features(torch.zeros(1, 3, 64, 64))
        except (AssertionError, RuntimeError) as error:
            raise ConfigError(f"{unfit} ({(str(error).splitlines() or [''])[0][:160]})") from error
        if features.ndim != 4 or not self.classes:
            raise ConfigError(unfit)
        self.features = int(features.shape[1])

    def __deepcopy__(self, _memo: dict[int, object]) -> Teacher:
        """Return itself: it is frozen, so copies of the method share it."""
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the teacher's outputs.

        Args:
            images: (B, 3, H, W), normalised with the mean and standard deviation of the data's settings.

        Returns:
            Logits (B, K) of the teacher's classes, and its last feature map (B, F, h, w).
        """
        self._follow(images.device)
        pixels = (images * self._std + self._mean).clamp(0, 1)
        if self._size_hw is not None and tuple(pixels.shape[-2:]) != tuple(self._size_hw):
            pixels = F.interpolate(pixels, size=tuple(self._size_hw), mode="bilinear", antialias=True).clamp(0, 1)
        seen = ((pixels - self._own_mean) / self._own_std).contiguous(memory_format=torch.channels_last)
        features: Tensor = self._model.forward_features(seen)
        return self._model.forward_head(features), features

    def _follow(self, device: torch.device) -> None:
        """Move to the device of the images."""
        if self._mean.device != device:
            self._model.to(device)
            self._mean, self._std = self._mean.to(device), self._std.to(device)
            self._own_mean, self._own_std = self._own_mean.to(device), self._own_std.to(device)

    @torch.no_grad()
    def classify_cells(self, features: Tensor) -> Tensor:
        """Classify each place of a feature map: (B, F, h, w) to logits (B, K, h, w)."""
        batch, channels, height, width = features.shape
        cells = features.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        logits: Tensor = self._model.forward_head(cells)
        return logits.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def load_teacher(config: PretrainConfig, data: DataConfig) -> Teacher:
    """Build the timm CNN ``config.teacher`` with its weights.

    Raises:
        ConfigError: timm does not have the network, it is no CNN, or the package with its weights is not installed.
        CheckpointError: The weights cannot be had or do not fit.
    """
    name, weights = config.teacher, config.teacher_weights
    if not timm.is_model(name):
        raise ConfigError(
            f"unknown pretrain.teacher {name!r}: choose a timm CNN such as tf_efficientnet_lite0 or resnet50"
        )
    try:
        model = timm.create_model(name, pretrained=weights == "hub")
    except Exception as error:
        if weights != "hub":
            raise
        raise not_fetched(name, error, "pretrain.teacher_weights to a file") from error
    if weights == "package":
        load_packaged(model, name, "pretrain.teacher_weights")
    elif weights != "hub":
        state = read_state_dict(weights)
        check_fit(state, model, weights)
        model.load_state_dict({key: state[key] for key in model.state_dict()})
    return Teacher(model, data, config.teacher_size)
