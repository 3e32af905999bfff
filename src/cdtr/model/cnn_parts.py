"""A timm CNN as a row of parts that follow each other, so that a method can look at, change or go on from any place.

timm's own ``forward_intermediates`` returns feature maps but lets nobody change what follows, as erasing methods do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cdtr.errors import ConfigError

Change = Callable[[Tensor], Tensor]

# The children that make the features, by family, in their order; the first family whose children are there counts.
_INCEPTION = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "Pool2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)
_FAMILIES = (
    ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"),  # ResNet and its kin
    ("conv_stem", "bn1", "blocks", "conv_head", "bn2"),  # EfficientNet
    ("conv_stem", "bn1", "blocks"),  # MobileNetV3
    ("features",),  # VGG, DenseNet
    ("stem", "stages", "norm_pre"),  # ConvNeXt
    _INCEPTION,
)


def part_names(network: nn.Module, name: str) -> list[str]:
    """Name the parts of a CNN; each gets what the one before returns.

    Args:
        network: A CNN of timm.
        name: timm's name of it, for messages.

    Returns:
        Names of submodules, such as ``layer3.0``, whose composition is timm's ``forward_features``.

    Raises:
        ConfigError: The network is not of such parts, as transformers are not.
    """
    children = dict(network.named_children())
    found = next((family for family in _FAMILIES if all(child in children for child in family)), ())
    parts = [part for child in found for part in _unfolded(child, children[child])]
    if not parts or not hasattr(network, "forward_features") or not _compose(network, parts):
        raise ConfigError(
            f"backbone.name {name} is no CNN that can be taken apart: choose one such as resnet50, vgg16, inception_v3 "
            "or tf_efficientnet_lite2"
        )
    return parts


def run_parts(
    network: nn.Module, parts: Sequence[str], maps: Tensor, changes: Mapping[str, Change] | None = None
) -> Tensor:
    """Run some parts of a network one after the other.

    Args:
        network: The network.
        parts: Names of its parts.
        maps: (B, C, h, w), what the first of them gets.
        changes: What is done to the output of a part, by its name.
    """
    for part in parts:
        maps = network.get_submodule(part)(maps)
        if changes and part in changes:
            maps = changes[part](maps)
    return maps


def level_ends(network: Any, parts: Sequence[str]) -> list[str]:
    """The parts at which the feature maps of one resolution end, the finest first, as timm counts them.

    A dilated network has the levels that it has without dilation; those of stride 1 and 2 are left out.
    """
    found: list[str] = []
    for info in network.feature_info:
        inside = [part for part in parts if part == info["module"] or part.startswith(info["module"] + ".")]
        if inside and int(info["reduction"]) > 2:
            found.append(inside[-1])
    return found


def drop_other_parts(network: nn.Module, parts: Sequence[str]) -> None:
    """Replace layers that none of the parts has, such as the classifier: nothing would teach them."""
    for name, module in list(network.named_modules()):
        own = next(module.parameters(recurse=False), None)
        if own is not None and not any(name == part or name.startswith(part + ".") for part in parts):
            network.set_submodule(name, nn.Identity())


def _unfolded(name: str, module: nn.Module) -> list[str]:
    """The parts of a child: those of an ``nn.Sequential`` one by one."""
    # DenseNet's blocks are dictionaries of layers that see all before them, and stay whole.
    if type(module) is not nn.Sequential:
        return [name]
    return [part for child, inner in module.named_children() for part in _unfolded(f"{name}.{child}", inner)]


@torch.no_grad()
def _compose(network: Any, parts: Sequence[str]) -> bool:
    """Whether the parts one after the other give the network's features."""
    training, images = network.training, torch.zeros(1, 3, 96, 96)
    network.eval()
    try:
        return torch.equal(run_parts(network, parts, images), network.forward_features(images))
    except (RuntimeError, TypeError, ValueError):
        return False
    finally:
        network.train(training)
