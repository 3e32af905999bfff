"""Slow, obviously right versions of what the model layer computes, written from the paper's equations.

Plain Python loops over single values wherever that stays readable; no function here calls ``cdtr``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn


def minmax(grid: Tensor) -> Tensor:
    """One map (h, w) to [0, 1]; a constant map becomes zeros."""
    values = grid.flatten().tolist()
    low, high = min(values), max(values)
    scaled = [0.0 if high == low else (value - low) / (high - low) for value in values]
    return torch.tensor(scaled).reshape(grid.shape)


def suppression(maps: Tensor, percent: int) -> float:
    """Eqs. 6 and 7 for maps (B, h, w) and p = percent / 100: rank ascending, take the p-th percentile value, add up
    what does not exceed it, divide by hw; the mean over the images."""
    losses = []
    for grid in maps:
        ranked = sorted(grid.flatten().tolist())
        rank = math.floor(Fraction(percent, 100) * len(ranked))
        clutter = [value for value in ranked if rank > 0 and value <= ranked[rank - 1]]
        losses.append(sum(clutter) / len(ranked))
    return sum(losses) / len(losses)


def awakening(m_ca: Tensor, m_ocm: Tensor) -> float:
    """Eq. 8 for (B, h, w) each: per image the mean squared difference; the mean over the images."""
    losses = []
    for attention, pseudo in zip(m_ca, m_ocm, strict=True):
        pairs = list(zip(attention.flatten().tolist(), pseudo.flatten().tolist(), strict=True))
        losses.append(sum((p - a) ** 2 for a, p in pairs) / len(pairs))
    return sum(losses) / len(losses)


def matching(fore: Sequence[float], back: Sequence[float], xi: float) -> list[float]:
    """Eq. 13 per image."""
    return [-math.log(f / (f + b + xi)) for f, b in zip(fore, back, strict=True)]


def automatic_loss(losses: Sequence[float], lambdas: Sequence[float], epsilon: float) -> float:
    """Eq. 2 without alpha; epsilon is added to lambda squared under the losses."""
    total = 0.0
    for loss, value in zip(losses, lambdas, strict=True):
        total += loss / (2 * (value * value + epsilon)) + math.log(1 + value * value)
    return total


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Eqs. 1, 4 and 10, the mean over the batch."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        losses.append(math.log(sum(math.exp(value) for value in row)) - row[label])
    return sum(losses) / len(losses)


def bilinear(grid: Tensor, y: float, x: float) -> float:
    """The value of one map (h, w) at a place between its pixels' centres; pixels outside are zero."""
    height, width = grid.shape
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * float(grid[row, column])
    return total


def resize(grid: Tensor, height: int, width: int) -> Tensor:
    """One map (h, w) to (height, width), bilinear, half-pixel centres, the border repeated."""
    result = torch.zeros(height, width)
    for row in range(height):
        for column in range(width):
            y = (row + 0.5) * grid.shape[0] / height - 0.5
            x = (column + 0.5) * grid.shape[1] / width - 0.5
            y, x = min(max(y, 0.0), grid.shape[0] - 1.0), min(max(x, 0.0), grid.shape[1] - 1.0)
            result[row, column] = bilinear(grid, y, x)
    return result


def conv(maps: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Zero-padded stride-1 convolution of (B, I, h, w) with an odd (O, I, k, k) kernel, one tap at a time."""
    batch, _, height, width = maps.shape
    reach = weight.shape[-1] // 2
    result = torch.zeros(batch, weight.shape[0], height, width)
    for row in range(height):
        for column in range(width):
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if 0 <= row + dy < height and 0 <= column + dx < width:
                        pixel = maps[:, :, row + dy, column + dx]
                        result[:, :, row, column] += pixel @ weight[:, :, dy + reach, dx + reach].T
    return result if bias is None else result + bias[None, :, None, None]


def deformable_conv(maps: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 kernel (O, I, 3, 3) on (B, I, h, w), each tap moved by its own (dy, dx) of offsets (B, 18, h, w)."""
    batch, channels_in, height, width = maps.shape
    result = torch.zeros(batch, weight.shape[0], height, width)
    for image in range(batch):
        for row in range(height):
            for column in range(width):
                for tap in range(9):
                    y = row + tap // 3 - 1 + float(offsets[image, 2 * tap, row, column])
                    x = column + tap % 3 - 1 + float(offsets[image, 2 * tap + 1, row, column])
                    sampled = torch.tensor([bilinear(maps[image, c], y, x) for c in range(channels_in)])
                    result[image, :, row, column] += weight[:, :, tap // 3, tap % 3] @ sampled
    return result


def batch_norm(maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Training-mode batch norm of (B, C, h, w), one channel at a time."""
    result = torch.empty_like(maps)
    for channel in range(maps.shape[1]):
        values = maps[:, channel]
        mean = values.sum() / values.numel()
        variance = ((values - mean) ** 2).sum() / values.numel()
        result[:, channel] = (values - mean) / torch.sqrt(variance + eps) * weight[channel] + bias[channel]
    return result


def leaky_relu(maps: Tensor) -> Tensor:
    return torch.where(maps > 0, maps, 0.01 * maps)


def conv_norm_act(layers: nn.Sequential, maps: Tensor, act: bool = True) -> Tensor:
    """One convolution of the released code with its batch norm and LeakyReLU, from the layers' own weights."""
    convolution = layers[0]
    maps = conv(maps, convolution.weight, convolution.bias)
    if isinstance(layers[1] if len(layers) > 1 else None, nn.BatchNorm2d):
        maps = batch_norm(maps, layers[1].weight, layers[1].bias, layers[1].eps)
    return leaky_relu(maps) if act else maps


def max_pool_2(maps: Tensor) -> Tensor:
    """2x2 max pooling with stride 2; an odd last row or column is dropped."""
    batch, channels, height, width = maps.shape
    result = torch.empty(batch, channels, height // 2, width // 2)
    for row in range(height // 2):
        for column in range(width // 2):
            window = maps[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            result[:, :, row, column] = window.amax(dim=(-2, -1))
    return result


def class_token_attention(vit: nn.Module, images: Tensor) -> Tensor:
    """The softmax attention of every block (B, L, S, N, N), by timm's unfused path; ``vit`` is left changed."""
    matrices: list[Tensor] = []
    for block in vit.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _module, inputs, _output: matrices.append(inputs[0]))
    vit.forward_features(images)
    return torch.stack(matrices, dim=1)


def attention_from_qkv(block_input: Tensor, attn: nn.Module) -> Tensor:
    """Softmax attention (B, S, N, N) of a plain timm ViT block from its normalised input (B, N, D), by hand."""
    batch, tokens, width = block_input.shape
    heads = attn.num_heads
    size = width // heads
    query, key = (block_input @ attn.qkv.weight.T + attn.qkv.bias).split(width, dim=-1)[:2]
    result = torch.empty(batch, heads, tokens, tokens)
    for image in range(batch):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = query[image, :, part] @ key[image, :, part].T / math.sqrt(size)
            weights = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
            result[image, head] = weights / weights.sum(dim=-1, keepdim=True)
    return result


def numeric_gradient(function: Callable[[Tensor], float], at: Tensor, step: float = 1e-3) -> Tensor:
    """Central differences of a scalar function, one coordinate at a time."""
    gradient = torch.zeros_like(at)
    flat = gradient.flatten()
    for index in range(at.numel()):
        up, down = at.clone().flatten(), at.clone().flatten()
        up[index] += step
        down[index] -= step
        flat[index] = (function(up.reshape(at.shape)) - function(down.reshape(at.shape))) / (2 * step)
    return flat.reshape(at.shape)
