"""Pretrained weights of timm's hub: what a training fetches, in words before it does, and what cannot be had."""

from __future__ import annotations

import timm
from huggingface_hub import try_to_load_from_cache

from cdtr.config import Config
from cdtr.errors import CheckpointError
from cdtr.model.registry import find_backbone

_FILES = ("model.safetensors", "pytorch_model.bin")  # the names that timm asks the Hugging Face hub for


def hub_lines(config: Config) -> list[str]:
    """Say which pretrained weights a training takes from the hub.

    Args:
        config: The settings of the training.

    Returns:
        A line for each network; empty where nothing is taken from the hub.
    """
    backbone, names = config.backbone, []
    if backbone.weights == "hub" and backbone.stem == "patch" and find_backbone(backbone.name) is None:
        names.append(backbone.name)
    if backbone.stem == "cnn" and backbone.cnn.weights == "hub":
        names.append(backbone.cnn.name)
    return [line for line in map(hub_line, names) if line]


def hub_line(name: str) -> str:
    """Say where timm has the pretrained weights of a network from.

    Args:
        name: timm's name of the network.

    Returns:
        A line; empty where timm has no weights of it, which is an error when the network is built.
    """
    found = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if found is None or not found.has_weights:
        return ""
    place = f"{found.hf_hub_id} on the Hugging Face hub" if found.hf_hub_id else str(found.url)
    terms = f", license {found.license}" if found.license else ""
    if found.hf_hub_id and _is_kept(found.hf_hub_id):
        return f"{name} starts from {place}{terms}, fetched before"
    return f"fetching the pretrained weights of {name}, once: {place}{terms}"


def not_fetched(name: str, error: Exception, instead: str) -> CheckpointError:
    """The error for weights that the hub does not give.

    Args:
        name: timm's name of the network.
        error: What went wrong.
        instead: A setting and its other values, such as ``backbone.cnn.weights to package or to a file``.
    """
    return CheckpointError(
        f"the weights of {name} cannot be fetched from the hub ({type(error).__name__}): go online, or set {instead}"
    )


def first_mismatch(message: str) -> str:
    """Return the first line of PyTorch's message that names a tensor, with both shapes."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return next((line for line in lines if "size mismatch" in line or "key(s)" in line), lines[0])[:300]


def _is_kept(hub_id: str) -> bool:
    """Whether the Hugging Face hub's cache on this machine has the file."""
    return any(isinstance(try_to_load_from_cache(hub_id.partition("@")[0], file), str) for file in _FILES)
