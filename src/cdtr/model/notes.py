"""Notes about the training in the metadata of a ``.safetensors`` file of `cdtr pretrain`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from cdtr.json_tree import parse_json

_KEY = "cdtr"


def with_notes(notes: Mapping[str, str]) -> dict[str, str]:
    """Return metadata that holds notes.

    There is one key, because safetensors writes several in any order, and equal trainings should give equal files.
    """
    return {_KEY: json.dumps(notes)}


def read_notes(path: Path) -> dict[str, str]:
    """Read the notes of a file; empty if it has none or cannot be read."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            notes = parse_json((file.metadata() or {}).get(_KEY, "{}"))
    except (OSError, SafetensorError, ValueError):  # the loader of the weights reports a broken file
        return {}
    return {str(name): str(value) for name, value in notes.items()} if isinstance(notes, dict) else {}


def noted_grid(path: Path, vit: nn.Module) -> tuple[int, int] | None:
    """Return the patch grid of a file's position embeddings, by the ``input_size`` in its notes.

    Returns:
        Height and width in patches; None if the notes lack it, or the file or the transformer has no position
        embeddings.
    """
    size = re.fullmatch(r"(\d+)x(\d+)", read_notes(path).get("input_size", ""))
    if size is None or getattr(vit, "pos_embed", None) is None:
        return None
    with safe_open(path, framework="pt") as file:
        if "pos_embed" not in file.keys():  # noqa: SIM118
            return None
        shape = file.get_slice("pos_embed").get_shape()
    height, width = int(size[1]), int(size[2])
    tokens = shape[1] - position_prefix(vit) if len(shape) == 3 else 0
    patch = math.isqrt(height * width // tokens) if tokens > 0 else 0
    grid = (height // patch, width // patch) if patch else (0, 0)
    return grid if grid[0] * grid[1] == tokens > 0 else None


def position_prefix(vit: Any) -> int:
    """Count the position embeddings of tokens that are no patches, such as the class token."""
    return int(vit.pos_embed.shape[1] - math.prod(vit.patch_embed.grid_size))
