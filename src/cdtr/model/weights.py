"""Weights files of backbones: read without unpickling code, checked name by name, fitted to the model's grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.models import eva, vision_transformer
from torch import Tensor, nn

from cdtr.errors import CheckpointError

_HEADS = ("head.", "head_dist.", "fc_norm.", "fc.")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or ``.pth`` file; a pickle that holds more than tensors is refused.

    The usual wrappings, ``{"model": ...}``, ``{"state_dict": ...}`` and a leading ``module.``, are taken off.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"no weights file {path}: give a .pth or .safetensors file, or set backbone.weights to none"
        )
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:
        # torch's unpickler answers a damaged file with almost any exception: IndexError, KeyError, struct.error, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CheckpointError(f"{path} cannot be read as weights ({reason}): expected tensors only") from error
    for wrapping in ("model", "state_dict", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapping), Mapping):
            content = content[wrapping]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a mapping of names to tensors")
    return {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}


def load_backbone_weights(vit: nn.Module, path: str) -> None:
    """Load a file into a headless timm transformer, resampling position embeddings to its grid.

    Raises CheckpointError that names the first missing or misshapen tensor.
    """
    state = read_state_dict(path)
    convert = eva.checkpoint_filter_fn if isinstance(vit, eva.Eva) else vision_transformer.checkpoint_filter_fn
    try:
        converted = convert(state, vit)
    except (RuntimeError, ValueError, IndexError, KeyError, AttributeError, TypeError, AssertionError) as error:
        raise CheckpointError(
            f"{path} cannot be fitted to this backbone ({str(error)[:160]}): is it a checkpoint of this model?"
        ) from error
    state = {name: value for name, value in converted.items() if not name.startswith(_HEADS)}
    check_fit(state, vit, path)
    vit.load_state_dict(state, strict=False)


def check_fit(state: Mapping[str, Tensor], module: nn.Module, origin: str | Path) -> None:
    """Raise CheckpointError unless ``state`` has every tensor of ``module`` in its shape."""
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in state]
    if missing:
        raise CheckpointError(
            f"{origin} lacks {len(missing)} of {len(wanted)} tensors, the first is {missing[0]!r} "
            f"(it has names like {next(iter(state), 'none')!r}): is it a checkpoint of this model?"
        )
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{origin}: {name} has shape {tuple(state[name].shape)}, the model wants {tuple(tensor.shape)}: "
                "choose the model or the classes that the file was made for"
            )
