"""A CLIP in a folder of `cdtr train-clip`: its settings are read and bounded here, not by open_clip.

open_clip's reader takes names of Hugging Face models and tokenizers from such a file and, with ``transformers``
installed, runs code beside it. Here only sizes are read, and any other key is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import open_clip
import torch
from pydantic import Field, StrictInt
from torch import nn

from cdtr.config.checking import Section, checked_section
from cdtr.config.types import Deviations, Means
from cdtr.errors import CdtrError, CheckpointError
from cdtr.json_tree import load_json
from cdtr.model.weights import check_fit, read_state_dict

WEIGHTS_FILE = "open_clip_model.safetensors"
CONFIG_FILE = "open_clip_config.json"

Width = Annotated[StrictInt, Field(ge=1, le=2048)]
Layers = Annotated[StrictInt, Field(ge=1, le=64)]


class ImageTower(Section):
    """A residual network where ``layers`` has four numbers, else a transformer of patches."""

    image_size: Annotated[StrictInt, Field(ge=1, le=1024)]
    layers: Layers | tuple[Layers, Layers, Layers, Layers]
    width: Width
    head_width: Width = 64
    patch_size: Width = 16


class TextTower(Section):
    """The text tower of an open_clip configuration, within bounds."""

    context_length: Annotated[StrictInt, Field(ge=1, le=1024)]
    vocab_size: Annotated[StrictInt, Field(ge=49408, le=49408)]  # of open_clip's own tokenizer
    width: Width
    heads: Width
    layers: Layers


class Network(Section):
    """Both towers of an open_clip configuration."""

    embed_dim: Width
    vision_cfg: ImageTower
    text_cfg: TextTower


class Preprocessing(Section):
    """Normalisation of the images that CLIP takes."""

    mean: Means
    std: Deviations


class ClipSettings(Section):
    """What `cdtr train-clip` writes to ``open_clip_config.json``."""

    model_cfg: Network
    preprocess_cfg: Preprocessing


def build_network(model_config: Mapping[str, Any]) -> tuple[nn.Module, Any]:
    """Build the untrained open_clip network of a configuration, and its tokenizer."""
    network = open_clip.CLIP(**model_config["model_cfg"])
    return network, open_clip.SimpleTokenizer(context_length=model_config["model_cfg"]["text_cfg"]["context_length"])


def load_folder(folder: Path) -> tuple[nn.Module, Any]:
    """Load the network of a folder with its weights, and its tokenizer.

    Raises:
        CheckpointError: Files are missing, the weights do not fit, or the settings are not those of `cdtr train-clip`.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        raise CheckpointError(f"{folder} has no {CONFIG_FILE}: expected a folder that `cdtr train-clip` wrote")
    if not (folder / WEIGHTS_FILE).is_file():
        raise CheckpointError(f"the weights of CLIP {folder} are missing: expected {WEIGHTS_FILE} of `cdtr train-clip`")
    try:
        tree = load_json(file, "settings of a CLIP")
        if not isinstance(tree, dict):
            raise CheckpointError(f"{file} holds no JSON object")
        settings = checked_section(tree, ClipSettings, str(file)).model_dump(mode="json", exclude_unset=True)
    except CdtrError as error:
        raise CheckpointError(f"{error}: expected a folder as `cdtr train-clip` writes it") from error
    try:
        with torch.device("meta"):  # the shapes alone: they are compared before memory is taken for them
            shapes, _ = build_network(settings)
        state = read_state_dict(folder / WEIGHTS_FILE)
        check_fit(state, shapes, folder / WEIGHTS_FILE)
        network, tokenizer = build_network(settings)
        network.load_state_dict(state)
    except CheckpointError as error:
        raise CheckpointError(f"the weights of CLIP {folder} cannot be had: {error}") from error
    except Exception as error:  # sizes that do not go together raise almost anything
        reason = (str(error).splitlines() or [""])[0][:160] or type(error).__name__
        raise CheckpointError(f"{file} describes no CLIP that can be built ({reason}): train it again") from error
    visual: Any = network.visual
    visual.preprocess_cfg = settings["preprocess_cfg"]
    return network, tokenizer
