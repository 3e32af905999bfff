"""Slow, obviously right versions of what SCM, SAT, LCTR and TriLite compute, as docs/methods/ gives the equations.

Plain Python loops over patches, heads and images; no function here calls ``cdtr``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from oracles import model_oracles as oracle


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in first)) * math.sqrt(sum(x * x for x in second))
    return sum(x * y for x, y in zip(first, second, strict=True)) / lengths


def grid_laplacian(class_maps: Tensor, strength: float) -> Tensor:
    """SCM's ``(D - A) * (lambda E - 1)`` of one image's class maps (C, h, w), entry by entry: (hw, hw)."""
    _, height, width = class_maps.shape
    places = [(row, column) for row in range(height) for column in range(width)]
    result = torch.zeros(len(places), len(places), dtype=torch.float64)
    for i, (row, column) in enumerate(places):
        for j, (other_row, other_column) in enumerate(places):
            alike = cosine(class_maps[:, row, column].tolist(), class_maps[:, other_row, other_column].tolist())
            adjacent = abs(row - other_row) + abs(column - other_column) == 1
            degree = sum(
                0 <= row + dy < height and 0 <= column + dx < width for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
            result[i, j] = ((degree if i == j else 0) - adjacent) * (strength * alike - 1)
    return result


def newton_schulz(laplacian: Tensor, steps: int, start: float) -> Tensor:
    """The iteration as SCM's release writes it."""
    identity = torch.eye(len(laplacian), dtype=laplacian.dtype)
    inverse = start * laplacian.T
    for _ in range(steps):
        inverse = inverse @ (2 * identity - laplacian @ inverse)
    return inverse


def newton_schulz_closed(laplacian: Tensor, steps: int, start: float) -> Tensor:
    """What the iteration gives, from the singular values: a bounded filter of the spectrum."""
    left, values, right = torch.linalg.svd(laplacian)
    filtered = [0.0 if s < 1e-12 else (1 - (1 - start * s * s) ** (2**steps)) / s for s in values.tolist()]
    return right.T @ torch.diag(torch.tensor(filtered, dtype=laplacian.dtype)) @ left.T


def diffusion_block(
    class_maps: Tensor, attention: Tensor, strength: float, beta: float, steps: int, start: float
) -> tuple[Tensor, Tensor]:
    """One block of SCM for one image: class maps (C, h, w) and attention (h, w), patch by patch."""
    height, width = attention.shape
    inverse = newton_schulz(grid_laplacian(class_maps, strength), steps, start).tolist()
    values = attention.flatten().tolist()
    spread = [sum(weight * value for weight, value in zip(row, values, strict=True)) for row in inverse]
    shrunk = [x / (beta * max(values)) for x in spread]
    shrunk = [x - math.tanh(x) for x in shrunk]
    added = oracle.minmax(torch.tensor(shrunk).reshape(height, width))
    gated = class_maps.clone()
    for row in range(height):
        for column in range(width):
            gated[:, row, column] = class_maps[:, row, column] * (1 + float(added[row, column]))
    return gated, attention + added


def relational_row(matrices: Tensor, class_row: bool = True) -> Tensor:
    """LCTR's ``sum_i a[i] A[i, j] / N`` of one block's attention (S, N, N), with means over the heads: (N,)."""
    heads, count = matrices.shape[:2]
    result = [0.0] * count
    for j in range(count):
        for i in range(0 if class_row else 1, count):
            first = sum(float(matrices[s, 0, i]) for s in range(heads)) / heads
            passed = sum(float(matrices[s, i, j]) for s in range(heads)) / heads
            result[j] += first * passed / count
    return torch.tensor(result)


def mixed_convolution(patches: Tensor, seen: Tensor, experts: Tensor, bias: Tensor, router: nn.Module) -> Tensor:
    """LCTR's class maps: per image its own kernel, mixed from experts (G, C, D, 3, 3); patches, seen (B, D, h, w)."""
    maps = []
    for image, features in zip(patches, seen, strict=True):
        mean = features.flatten(1).mean(dim=1)
        most = features.flatten(1).amax(dim=1)
        scores = router.of_mean(mean) + router.of_most(most)
        gates = [1 / (1 + math.exp(-float(score))) for score in scores]
        kernel = torch.zeros_like(experts[0])
        for gate, expert in zip(gates, experts, strict=True):
            kernel = kernel + gate * expert
        maps.append(oracle.conv(image[None], kernel, bias)[0])
    return torch.stack(maps)


def pooled_by_weights(maps: Tensor) -> Tensor:
    """GAP of the zero-padded 3x3 mean of (C, h, w) by weights: 4/9 in corners, 6/9 at edges, 1 inside."""
    _, height, width = maps.shape
    total = torch.zeros(len(maps))
    for row in range(height):
        for column in range(width):
            rows = sum(0 <= row + d < height for d in (-1, 0, 1))
            columns = sum(0 <= column + d < width for d in (-1, 0, 1))
            total += maps[:, row, column] * rows * columns / 9
    return total / (height * width)


def masked_transformer(vit: nn.Module, images: Tensor, extra: Tensor, last: int) -> tuple[Tensor, Tensor]:
    """A plain ViT whose last blocks multiply the attention by what the token ``extra`` (D,) says: tokens, masks.

    Returns all tokens (B, N + 2, D) after the final norm and the masks (B, last, N + 2).
    """
    tokens = vit._pos_embed(vit.patch_embed(images))
    tokens = torch.cat([tokens, extra.expand(len(images), 1, -1)], dim=1)
    masks: list[Tensor] = []
    for number, block in enumerate(vit.blocks):
        attn, width = block.attn, tokens.shape[-1]
        size = width // attn.num_heads
        normed = block.norm1(tokens)
        query, key, value = (normed @ attn.qkv.weight.T + attn.qkv.bias).split(width, dim=-1)
        attended = torch.empty_like(tokens)
        masked = number >= len(vit.blocks) - last
        of_images = torch.ones(tokens.shape[:2])
        for image in range(len(tokens)):
            parts = [slice(head * size, (head + 1) * size) for head in range(attn.num_heads)]
            scores = [query[image, :, part] @ key[image, :, part].T / math.sqrt(size) for part in parts]
            if masked:
                for j in range(tokens.shape[1]):
                    mean = sum(float(score[-1, j]) for score in scores) / len(scores)
                    of_images[image, j] = 1 / (1 + math.exp(-mean))
            for part, score in zip(parts, scores, strict=True):
                weights = torch.exp(score - score.amax(dim=-1, keepdim=True))
                weights = weights / weights.sum(dim=-1, keepdim=True) * of_images[image]
                attended[image, :, part] = weights @ value[image, :, part]
        if masked:
            masks.append(of_images)
        tokens = tokens + attn.proj(attended)
        tokens = tokens + block.mlp(block.norm2(tokens))
    return vit.norm(tokens), torch.stack(masks, dim=1)


SMOOTHING = {(0, 0): 0.8054, (0, 1): 0.0460, (1, 1): 0.0026}  # by the distances from the centre


def area_and_norm(maps: Tensor, area: float) -> tuple[float, float]:
    """SAT's two terms for maps (B, h, w)."""
    batch, height, width = maps.shape
    every = maps.flatten().tolist()
    norms = []
    whole = SMOOTHING[0, 0] + 4 * SMOOTHING[0, 1] + 4 * SMOOTHING[1, 1]
    for image in range(batch):
        for row in range(height):
            for column in range(width):
                smooth = 0.0
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= row + dy < height and 0 <= column + dx < width:
                            near = tuple(sorted((abs(dy), abs(dx))))
                            smooth += SMOOTHING[near] / whole * float(maps[image, row + dy, column + dx])
                norms.append(smooth * (1 - smooth))
    return abs(sum(every) / len(every) - area), sum(norms) / len(norms)


def tri_pool(shares: Tensor, patches: Tensor) -> Tensor:
    """TriLite's pooled features of one channel: shares (h, w), patches (D, h, w) -> (D,)."""
    total, weight = torch.zeros(len(patches)), 1e-6
    for row in range(shares.shape[0]):
        for column in range(shares.shape[1]):
            total += shares[row, column] * patches[:, row, column]
            weight += float(shares[row, column].detach())
    return total / weight


def adversarial(logits: Tensor, labels: Tensor) -> float:
    """TriLite's mean of ``-log(1 - p[label] + 1e-7)`` of the background's class scores (B, C)."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        probability = math.exp(row[label]) / sum(math.exp(value) for value in row)
        losses.append(-math.log(1 - probability + 1e-7))
    return sum(losses) / len(losses)
