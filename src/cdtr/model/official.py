"""Released checkpoints of CDTR, CATR and TS-CAM as one of our methods: settings and tensors under our names.

Names and shapes are those of the released code (github.com/zhiweichen0012/CDTR, .../CATR, github.com/vasgaowei/TS-CAM).
What a file is, its shapes say: CDTR has CSM, OCM and SKI, CATR has no SKI, TS-CAM has none of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cdtr.config import Config, load_config
from cdtr.errors import CheckpointError
from cdtr.model.methods import build_method, with_switches
from cdtr.model.weights import check_tensors, read_state_dict

_FAMILIES = {"cdtr": "CDTR", "catr": "CATR", "tscam": "TS-CAM"}
_BACKBONES = {192: "deit_tiny_patch16_224", 384: "deit_small_patch16_224", 768: "deit_base_patch16_224"}
_HEAD_WIDTH = 64  # of every DeiT
_PRESETS = {9: "cub-official", 10: "ilsvrc-official"}  # by K, the blocks that OCM takes
_TSCAM = {200: ("cub", 0.10), 1000: ("ilsvrc", 0.12)}  # by classes: preset, published threshold

# Released prefix -> ours. CSM's two convolutions with their norms are one sequence there, two sequences here.
_PREFIXES = {
    **{name: f"backbone.vit.{name}" for name in ("cls_token", "pos_embed", "patch_embed.", "blocks.", "norm.")},
    "head.": "head.",
    **{
        f"att_layer.{theirs}.UConv.{number}.": f"csm.{ours}.{place}."
        for theirs, ours in (("down_1.1", "encoder"), ("up_1.conv", "decoder"))
        for number, place in ((0, "0.0"), (1, "0.1"), (3, "1.0"), (4, "1.1"))
    },
    "att_cls.": "csm.head.",
    **{f"block{number}.": f"ocm.per_block.{number}." for number in range(12)},
    "block_catconv.": "ocm.join.0.",
    "block_catbn.": "ocm.join.1.",
    "dnc_att_layer.conv_offset.": "ski.offsets.",
    "dnc_att_layer.deform_conv.": "ski.kernel.",
    "AutomaticWeightedLoss.params": "weighting.params",
}


@dataclass(frozen=True, slots=True)
class Released:
    """A released checkpoint, ready to be stored.

    description: the family, variant and size in words. state: tensors under our names, all that the method has and no
    more. left_out: names of tensors in the file that the released model has no place for.
    """

    config: Config
    classes: int
    description: str
    state: Mapping[str, Tensor]
    left_out: tuple[str, ...]


def read_released(path: str | Path) -> Released:
    """Read a released ``.pth`` without unpickling code.

    Raises:
        CheckpointError: Names what does not fit.
    """
    state = read_state_dict(path)
    _require_released(state, path)
    config = with_switches(_settings(state, path))
    classes = state["head.weight"].shape[0]
    wanted = build_method(config, classes, load_weights=False).state_dict()
    released = {_released_name(ours): ours for ours in wanted}
    check_tensors(state, {theirs: wanted[ours] for theirs, ours in released.items()}, path)
    left_out = tuple(name for name in state if name not in released)
    _refuse_more_blocks(left_out, path)
    kept = {ours: state[theirs] for theirs, ours in released.items()}
    return Released(config, classes, _describe(config, classes), kept, left_out)


def _require_released(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Tell a released checkpoint from others by its keys."""
    if "trans_cls_head.weight" in state:
        raise CheckpointError(
            f"{path} is a Conformer (trans_cls_head.weight), which cdtr does not have: take a checkpoint of DeiT"
        )
    missing = [
        name for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "head.weight") if name not in state
    ]
    if missing:
        raise CheckpointError(
            f"{path} has no {missing[0]} (it has names like {next(iter(state), 'none')!r}): expected a released "
            f"checkpoint of {', '.join(_FAMILIES.values())}"
        )
    if state["head.weight"].ndim != 4:
        raise CheckpointError(
            f"{path} has a plain classifier (head.weight {tuple(state['head.weight'].shape)}), expected a 3x3 "
            "convolution to the classes: to train from this file, give `overrides=['backbone.weights=FILE']`"
        )


def _settings(state: Mapping[str, Tensor], path: str | Path) -> Config:
    width, patch = state["cls_token"].shape[-1], state["patch_embed.proj.weight"].shape[-1]
    if width not in _BACKBONES:
        raise CheckpointError(f"{path}: cls_token has width {width}, expected {_choices(_BACKBONES)} (DeiT-T, -S, -B)")
    side = math.isqrt(state["pos_embed"].shape[1] - 1)
    if side * side + 1 != state["pos_embed"].shape[1]:
        raise CheckpointError(f"{path}: pos_embed has {state['pos_embed'].shape[1]} tokens: expected a square and one")
    size = (side * patch, side * patch)
    shared: dict[str, dict[str, object]] = {"data": {"input_size": size}, "backbone": {"name": _BACKBONES[width]}}
    if not any(name.startswith("att_layer.") for name in state):
        return _tscam_settings(state["head.weight"].shape[0], shared)
    blocks = len({name.split(".")[0] for name in state if re.match(r"block\d+\.", name)})
    if blocks not in _PRESETS:
        raise CheckpointError(f"{path}: OCM has K = {blocks} blocks, expected {_choices(_PRESETS)} (CUB, ILSVRC)")
    encoder = state.get("att_layer.down_1.1.UConv.0.weight")
    if encoder is None:
        raise CheckpointError(f"{path} lacks 'att_layer.down_1.1.UConv.0.weight': is it a whole checkpoint?")
    has_ski = any(name.startswith("dnc_att_layer.") for name in state)
    config = load_config(_PRESETS[blocks], changes=shared)
    return config.updated(
        method="cdtr" if has_ski else "catr",
        csm={"g": encoder.shape[0] // config.csm.width_factor},
        ocm={"k": blocks},
        sba={"enabled": has_ski},
    )


def _tscam_settings(classes: int, shared: Mapping[str, Mapping[str, object]]) -> Config:
    preset, threshold = _TSCAM.get(classes, ("cub", None))
    changes = {
        **shared,
        "method": "tscam",
        "backbone": {**shared["backbone"], "attention_reduce": "sum_blocks"},
        "evaluation": {"protocol": "tscam", "threshold": threshold},
    }
    return load_config(preset, changes=changes)


def _released_name(ours: str) -> str:
    for theirs, prefix in _PREFIXES.items():
        if ours.startswith(prefix):
            return theirs + ours.removeprefix(prefix)
    raise ValueError(f"no released model has {ours}")


def _refuse_more_blocks(left_out: tuple[str, ...], path: str | Path) -> None:
    deeper = [name for name in left_out if name.startswith("blocks.")]
    if deeper:
        raise CheckpointError(
            f"{path} has {deeper[0]!r}, which no released model has: is it a checkpoint of this model?"
        )


def _describe(config: Config, classes: int) -> str:
    family, size = _FAMILIES[config.method], "x".join(map(str, config.data.input_size))
    modules = "" if config.method == "tscam" else f", K = {config.ocm.k}, G = {config.csm.g}"
    return f"{family}, {config.backbone.name} at {size}, {classes} classes{modules}"


def _choices(known: Mapping[int, object]) -> str:
    *others, last = map(str, known)
    return f"{', '.join(others)} or {last}"
