"""The released CDTR, CATR and TS-CAM, written out literally, with the names and shapes of their checkpoints.

Plain functions of a state dict and an image, from the published facts alone: every block, head and layer is spelled
out, attention is a full matrix, nothing is fused, and no function here calls ``cdtr`` or ``timm``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


def random_state(
    *, classes: int, width: int = 384, depth: int = 12, grid: int = 14, patch: int = 16, k: int = 9, g: int = 8,
    family: str = "cdtr", seed: int = 0,
) -> dict[str, Tensor]:  # fmt: skip
    """Random weights of a released model; norms have statistics far from 0 and 1, so that one left out is seen."""
    generator = torch.Generator().manual_seed(seed)
    heads = width // 64
    state: dict[str, Tensor] = {}

    def put(name: str, *shape: int, scale: float | None = None) -> None:
        fan_in = math.prod(shape[1:]) or 1
        state[name] = torch.randn(*shape, generator=generator) * (fan_in**-0.5 if scale is None else scale)

    def layer(name: str, out: int, into: int, scale: float = 1.0) -> None:
        put(f"{name}.weight", out, into, scale=scale * into**-0.5)
        put(f"{name}.bias", out, scale=0.1)

    def norm(name: str, size: int, batch: bool = False) -> None:
        state[f"{name}.weight"] = 0.5 + torch.rand(size, generator=generator)
        put(f"{name}.bias", size, scale=0.2)
        if batch:
            put(f"{name}.running_mean", size, scale=0.05)
            state[f"{name}.running_var"] = 0.01 + torch.rand(size, generator=generator)
            state[f"{name}.num_batches_tracked"] = torch.tensor(1234)

    put("cls_token", 1, 1, width, scale=0.5)
    put("pos_embed", 1, grid * grid + 1, width, scale=0.5)
    put("patch_embed.proj.weight", width, 3, patch, patch)
    put("patch_embed.proj.bias", width, scale=0.1)
    for number in range(depth):
        norm(f"blocks.{number}.norm1", width)
        layer(f"blocks.{number}.attn.qkv", 3 * width, width, scale=1.5)
        layer(f"blocks.{number}.attn.proj", width, width)
        norm(f"blocks.{number}.norm2", width)
        layer(f"blocks.{number}.mlp.fc1", 4 * width, width)
        layer(f"blocks.{number}.mlp.fc2", width, 4 * width)
    norm("norm", width)
    put("head.weight", classes, width, 3, 3)
    put("head.bias", classes, scale=0.1)
    if family == "tscam":
        return state
    maps = depth * heads
    for name, into, out in (("down_1.1", maps, 2 * g), ("up_1.conv", maps + 2 * g, classes)):
        put(f"att_layer.{name}.UConv.0.weight", out, into, 3, 3, scale=4 * (9 * into) ** -0.5)
        norm(f"att_layer.{name}.UConv.1", out, batch=True)
        put(f"att_layer.{name}.UConv.3.weight", out, out, 3, 3)
        norm(f"att_layer.{name}.UConv.4", out, batch=True)
    put("att_cls.weight", classes, classes, 1, 1)
    for number in range(k):
        put(f"block{number}.0.weight", 1, heads, 1, 1, scale=8.0)
        norm(f"block{number}.1", 1, batch=True)
    put("block_catconv.weight", 1, k, 3, 3)
    norm("block_catbn", 1, batch=True)
    terms = 4
    if family == "cdtr":
        terms = 5
        put("dnc_att_layer.conv_offset.weight", 18, classes, 3, 3, scale=0.2)
        put("dnc_att_layer.conv_offset.bias", 18, scale=0.5)
        put("dnc_att_layer.deform_conv.weight", classes, classes, 3, 3)
    state["AutomaticWeightedLoss.params"] = 0.5 + torch.rand(terms, generator=generator)
    return state


def layer_norm(tokens: Tensor, state: State, name: str) -> Tensor:
    """Over the last axis, epsilon 1e-6 as in DeiT."""
    mean = tokens.mean(dim=-1, keepdim=True)
    variance = ((tokens - mean) ** 2).mean(dim=-1, keepdim=True)
    return (tokens - mean) / torch.sqrt(variance + 1e-6) * state[f"{name}.weight"] + state[f"{name}.bias"]


def batch_norm(maps: Tensor, state: State, name: str) -> Tensor:
    """With the stored statistics, epsilon 1e-5."""
    mean, variance, weight, bias = (
        state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (maps - mean) / torch.sqrt(variance + 1e-5) * weight + bias


def leaky(maps: Tensor) -> Tensor:
    return torch.where(maps > 0, maps, maps * 0.01)


def linear(tokens: Tensor, state: State, name: str) -> Tensor:
    return tokens @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def transformer(state: State, images: Tensor) -> tuple[Tensor, Tensor]:
    """images (B, 3, H, W) to patch tokens as a map (B, D, h, w) and all attention matrices (B, L, S, N, N)."""
    patches = F.conv2d(
        images,
        state["patch_embed.proj.weight"],
        state["patch_embed.proj.bias"],
        state["patch_embed.proj.weight"].shape[-1],
    )
    batch, width, rows, columns = patches.shape
    tokens = torch.cat([state["cls_token"].expand(batch, 1, width), patches.flatten(2).transpose(1, 2)], dim=1)
    tokens = tokens + state["pos_embed"]
    size, matrices, number = 64, [], 0
    while f"blocks.{number}.norm1.weight" in state:
        name = f"blocks.{number}"
        qkv = linear(layer_norm(tokens, state, f"{name}.norm1"), state, f"{name}.attn.qkv")
        query, key, value = qkv[..., :width], qkv[..., width : 2 * width], qkv[..., 2 * width :]
        of_heads, outputs = [], []
        for start in range(0, width, size):
            part = slice(start, start + size)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(size)
            weights = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
            of_heads.append(weights / weights.sum(dim=-1, keepdim=True))
            outputs.append(of_heads[-1] @ value[..., part])
        matrices.append(torch.stack(of_heads, dim=1))
        tokens = tokens + linear(torch.cat(outputs, dim=-1), state, f"{name}.attn.proj")
        hidden = linear(layer_norm(tokens, state, f"{name}.norm2"), state, f"{name}.mlp.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        tokens = tokens + linear(hidden, state, f"{name}.mlp.fc2")
        number += 1
    tokens = layer_norm(tokens, state, "norm")
    return tokens[:, 1:].transpose(1, 2).reshape(batch, width, rows, columns), torch.stack(matrices, dim=1)


def twice_conv(maps: Tensor, state: State, name: str) -> Tensor:
    """Convolution, norm, activation, and the same again."""
    for conv, norm in ((0, 1), (3, 4)):
        maps = F.conv2d(maps, state[f"{name}.UConv.{conv}.weight"], padding=1)
        maps = leaky(batch_norm(maps, state, f"{name}.UConv.{norm}"))
    return maps


def attention_classes(state: State, rows: Tensor) -> Tensor:
    """The class token's attention (B, L, S, h, w) to class maps: CSM. Channels count blocks first, then heads."""
    stacked = torch.cat([rows[:, block] for block in range(rows.shape[1])], dim=1)
    coarse = twice_conv(F.max_pool2d(stacked, 2), state, "att_layer.down_1.1")
    fine = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    joined = twice_conv(torch.cat([stacked, fine], dim=1), state, "att_layer.up_1.conv")
    return F.conv2d(joined, state["att_cls.weight"])


def pseudo_map(state: State, rows: Tensor) -> Tensor:
    """OCM's map (B, h, w) from the first K blocks, K being how many ``blockN`` there are."""
    found, number = [], 0
    while f"block{number}.0.weight" in state:
        maps = F.conv2d(rows[:, number], state[f"block{number}.0.weight"])
        found.append(leaky(batch_norm(maps, state, f"block{number}.1")))
        number += 1
    joined = F.conv2d(torch.cat(found, dim=1), state["block_catconv.weight"], padding=1)
    return (1 / (1 + torch.exp(-batch_norm(joined, state, "block_catbn"))))[:, 0]


def released_forward(state: State, images: Tensor) -> dict[str, Tensor]:
    """What a released model answers in evaluation, and for CDTR ``offsets`` and ``shifted``, the parts of SKI.

    logits (B, C), fused (B, C, h, w), attention (B, h, w), x_out (B, C, h, w); with CSM and OCM x_csm and m_ocm.
    """
    patches, matrices = transformer(state, images)
    batch, _, height, width = patches.shape
    rows = matrices[..., 0, 1:].reshape(batch, matrices.shape[1], matrices.shape[2], height, width)
    x_out = F.conv2d(patches, state["head.weight"], state["head.bias"], padding=1)
    answer = {"logits": x_out.mean(dim=(2, 3)), "x_out": x_out}
    if "att_cls.weight" not in state:  # TS-CAM: the mean over heads, summed over blocks
        answer["attention"] = rows.mean(dim=2).sum(dim=1)
        answer["fused"] = answer["attention"][:, None] * x_out
        return answer
    answer["attention"] = rows.mean(dim=1).sum(dim=1)  # CATR and CDTR: the mean over blocks, summed over heads
    answer["x_csm"] = attention_classes(state, rows)
    answer["m_ocm"] = pseudo_map(state, rows)
    answer["fused"] = answer["attention"][:, None] * (x_out + answer["x_csm"])
    if "block9.0.weight" in state:  # the ILSVRC variant halves its maps
        answer["fused"] = answer["fused"] / 2
    if "dnc_att_layer.deform_conv.weight" in state:
        answer["offsets"] = F.conv2d(
            x_out * answer["attention"][:, None],
            state["dnc_att_layer.conv_offset.weight"],
            state["dnc_att_layer.conv_offset.bias"],
            padding=1,
        )
    return answer
