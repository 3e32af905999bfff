"""Weights files of backbones: read without unpickling code, checked name by name, fitted to the model's grid."""

from __future__ import annotations

import argparse
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.models import vision_transformer
from torch import Tensor, nn

from cdtr.errors import CheckpointError
from cdtr.model.notes import noted_grid, position_prefix

_HEADS = ("head.", "head_dist.", "fc_norm.", "fc.", "lin_head.")
# Training scripts like DeiT's store their options beside the weights: a plain record, built without code of the file.
_ALLOWED: list[Any] = [argparse.Namespace]


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` or ``.pth`` file.

    Args:
        path: The file. The usual wrappings, ``{"model": ...}``, ``{"state_dict": ...}`` and a leading ``module.``, are
            removed.

    Returns:
        Tensors by name.

    Raises:
        CheckpointError: The file is missing or damaged, or a pickle holds more than plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"no weights file {path}: give a .pth or .safetensors file, or set backbone.weights to none"
        )
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _load_pth(path)
    except Exception as error:
        # torch's unpickler raises almost any exception for a damaged file: IndexError, KeyError, struct.error, ...
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

    The notes in a file of `cdtr pretrain` give the grid of its position embeddings; for other files timm assumes a
    square.

    Raises:
        CheckpointError: Names the first tensor that is missing, unused or has another shape; or the position
            embeddings are of an unknown grid.
    """
    state = read_state_dict(path)
    positions = _known_positions(state, vit, path)
    try:
        converted = {
            **_converter(vit)({name: value for name, value in state.items() if name not in positions}, vit),
            **positions,
        }
    except (RuntimeError, ValueError, IndexError, KeyError, AttributeError, TypeError, AssertionError) as error:
        raise CheckpointError(
            f"{path} cannot be fitted to this backbone ({str(error)[:160]}): is it a checkpoint of this model?"
        ) from error
    wanted = vit.state_dict()
    state = {name: value for name, value in converted.items() if name in wanted or not name.startswith(_HEADS)}
    check_fit(state, vit, path)
    _refuse_unused(state, vit, path)
    vit.load_state_dict(state, strict=False)


def check_fit(state: Mapping[str, Tensor], module: nn.Module, origin: str | Path) -> None:
    """Raise CheckpointError unless ``state`` has every tensor of ``module`` in its shape, with finite numbers."""
    check_tensors(state, module.state_dict(), origin)


def check_tensors(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], origin: str | Path) -> None:
    """Check that ``state`` has every tensor of ``wanted``.

    Raises:
        CheckpointError: names the first tensor that is missing, has another shape or kind of numbers, or is not finite.
    """
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
        _check_numbers(name, state[name], tensor, origin)


def _check_numbers(name: str, found: Tensor, wanted: Tensor, origin: str | Path) -> None:
    """CheckpointError for numbers of another kind, which would be converted in silence, or not finite ones."""
    if (wanted.is_floating_point() and not found.is_floating_point()) or found.is_complex():
        raise CheckpointError(
            f"{origin}: {name} holds {found.dtype}, the model wants {wanted.dtype}: the file is damaged or made for "
            "another model, take another one"
        )
    if found.is_floating_point() and not bool(torch.isfinite(found).all()):
        raise CheckpointError(f"{origin}: {name} is not finite: the weights are broken, train again or take others")


def _load_pth(path: Path) -> Any:
    with torch.serialization.safe_globals(_ALLOWED):
        return torch.load(path, map_location="cpu", weights_only=True)


def _converter(vit: nn.Module) -> Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]]:
    """Timm's own function for the family: older names to today's, patches and positions to the model's grid."""
    convert = getattr(
        sys.modules[type(vit).__module__], "checkpoint_filter_fn", vision_transformer.checkpoint_filter_fn
    )
    # DeiT-III's layer scale has another name in its files; timm renames it for the models that have one.
    renames = "adapt_layer_scale" in inspect.signature(convert).parameters
    return lambda state, model: convert(state, model, **({"adapt_layer_scale": True} if renames else {}))


def _known_positions(state: Mapping[str, Tensor], vit: Any, path: str) -> dict[str, Tensor]:
    """Resample the position embeddings to the model's grid if the notes give theirs; else return nothing."""
    before = noted_grid(Path(path), vit)
    if before is None:
        _refuse_unknown_grid(state, vit, path)
        return {}
    now, prefix = list(vit.patch_embed.grid_size), position_prefix(vit)
    return {"pos_embed": resample_abs_pos_embed(state["pos_embed"], now, list(before), num_prefix_tokens=prefix)}


def _refuse_unknown_grid(state: Mapping[str, Tensor], vit: Any, path: str) -> None:
    """CheckpointError for position embeddings that would have to be resampled from a grid that is not square.

    Files with names of other libraries are left to timm, which may count their tokens in another way.
    """
    wanted = vit.state_dict()
    if "pos_embed" not in wanted or not wanted.keys() <= state.keys():
        return
    tokens = state["pos_embed"].shape[1] - position_prefix(vit) if state["pos_embed"].ndim == 3 else 0
    height, width = vit.patch_embed.grid_size
    if tokens > 0 and tokens != height * width and math.isqrt(tokens) ** 2 != tokens:
        raise CheckpointError(
            f"{path} has position embeddings of {tokens} patches and does not say how many in height and width, so "
            f"that they cannot be resampled to {height}x{width}: set data.input_size to what the file was made for, "
            "or take a file of `cdtr pretrain`, which says it"
        )


def _refuse_unused(state: Mapping[str, Tensor], vit: nn.Module, path: str) -> None:
    """A part of the backbone that the file has and the model has not, such as a 13th block, means another model."""
    wanted = vit.state_dict()
    parts = {name.partition(".")[0] for name in wanted}
    unused = [name for name in state if name not in wanted and name.partition(".")[0] in parts]
    unused = [name for name in unused if "relative_position_index" not in name]
    if unused:
        raise CheckpointError(
            f"{path} has {len(unused)} tensors that this backbone has no place for, the first is {unused[0]!r}: "
            "choose the model that the file was made for"
        )
