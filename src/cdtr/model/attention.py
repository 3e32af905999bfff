"""What a transformer's attention says about the patches, without a stored N x N matrix.

How the attention is captured. timm's transformers compute attention inside
``torch.nn.functional.scaled_dot_product_attention``, a fused kernel that returns the output but not the attention.
``ClassTokenRows`` is a ``TorchFunctionMode``: while ``VitBackbone.forward`` runs the transformer, PyTorch hands every
call of a torch function to it. At each fused attention call it computes the attention of the class token alone, one
row of the N x N matrix, from the same queries and keys, and then makes the call as it is. So no N x N matrix is stored,
and no code of timm is copied or patched.

This works for every timm transformer that calls that function: ViT, DeiT, DeiT-III, DINO, DINOv2 and DINOv3 (with
rotary positions, norms of queries and keys, and register tokens), and relative positions (BEiT, ViT-RelPos), which
come as an attention mask.

Two methods ask for more at the same calls: the relational row of LCTR and the spatial token of SAT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from cdtr.model.spatial import SpatialToken

Relational = Literal["none", "values", "gradient"]


@dataclass(frozen=True, slots=True)
class Watch:
    """What a transformer computes besides patch tokens and the class token's attention.

    Attributes:
        relational: The relational rows: none, their values alone, or with the gradient, which keeps the attention of
            every block for the backward pass.
        class_row: Whether they pass on what the class token attends to itself.
        token: The spatial token of SAT, appended to the patches.
        blocks: Number of the last blocks in which the spatial token masks the attention.
        before_norm: Whether to take the tokens before the final norm.
    """

    relational: Relational = "none"
    class_row: bool = True
    token: SpatialToken | None = None
    blocks: int = 0
    before_norm: bool = False


NOTHING_MORE = Watch()


class ClassTokenRows(TorchFunctionMode):
    """While active, appends the class token's attention of every fused attention call to ``rows``.

    Each row is (B, S, N) float32 over all N tokens, prefix tokens included. It costs 1/N of the attention itself.

    Args:
        relational: Whether to compute the relational row of every call, (B, N), and with a gradient.
        class_row: Whether that passes on what the class token attends to itself.
        masked_from: Number of the call from which on the last token masks the attention; None for never.
    """

    def __init__(self, relational: Relational = "none", class_row: bool = True, masked_from: int | None = None) -> None:
        super().__init__()
        self.rows: list[Tensor] = []
        self.relational: list[Tensor] = []
        self.masks: list[Tensor] = []
        self._relational = relational
        self._class_row = class_row
        self._masked_from = masked_from

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **named)
        query, key, value, *others = args
        mask, scale = (others[0] if others else named.get("attn_mask")), named.get("scale")
        if self._masked_from is not None and len(self.rows) >= self._masked_from:
            self.masks.append(spatial_mask(query, key, scale))
            # A mask of the keys alone: (A * m) V = A (m * V), so fused attention stays.
            args = (query, key, value * self.masks[-1][:, None, :, None].to(value.dtype), *others)
        self.rows.append(_class_token_row(query, key, mask, scale))
        if self._relational != "none":
            row = self.rows[-1].mean(dim=1)
            if not self._class_row:
                row = torch.cat([torch.zeros_like(row[:, :1]), row[:, 1:]], dim=1)
            with torch.set_grad_enabled(torch.is_grad_enabled() and self._relational == "gradient"):
                self.relational.append(relational_row(row, query, key, mask, scale))
        if query.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled():
            return _attend_in_float32(args, named)
        return func(*args, **named)


def _attend_in_float32(args: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
    """Fused attention in float32 without autocast; the result has the type of the query.

    On a CPU the backward pass of PyTorch's fused attention takes two to six times as long in bfloat16 as in float32.
    """
    query: Tensor = args[0]
    with torch.autocast("cpu", enabled=False):
        attended = F.scaled_dot_product_attention(
            *map(_no_bfloat16, args), **{name: _no_bfloat16(value) for name, value in named.items()}
        )
    return attended.to(query.dtype)


def _no_bfloat16(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value


def _class_token_row(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Compute the first token's attention over all tokens, (B, S, N); see ``_attention``."""
    return _attention(query[:, :, :1], key, None if mask is None else mask[..., :1, :], scale).squeeze(2)


def _attention(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Compute the attention of some queries over all tokens, in float32 even under autocast.

    Args:
        query: (B, S, M, d).
        key: (B, S, N, d).
        mask: (..., M, N), added to the logits; a boolean mask keeps the places that are True.
        scale: Of the logits; None for 1 / sqrt(d).

    Returns:
        (B, S, M, N), sums to 1 over N.
    """
    with torch.autocast(query.device.type, enabled=False):
        scaled = query.float() * (query.shape[-1] ** -0.5 if scale is None else scale)
        logits = scaled @ key.float().transpose(-2, -1)
        if mask is not None:
            logits = logits.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else logits + mask.float()
        return logits.softmax(dim=-1)


def relational_row(row: Tensor, query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Pass the class token's attention on through the attention of all tokens (RPAM of LCTR).

    Args:
        row: (B, N), the class token's mean attention over the heads.
        query: (B, S, N, d).
        key: (B, S, N, d).
        mask: As for ``_attention``.
        scale: As for ``_attention``.

    Returns:
        (B, N), ``a^T A / N`` of the row ``a`` and the mean over the heads of all attention ``A``; sums to 1 / N. One
        head after the other, so that one N x N matrix an image is live at a time.
    """
    heads, first = query.shape[1], row[:, None]
    total = torch.zeros_like(first)
    for head in range(heads):
        own = slice(head, head + 1)
        of_head = mask[..., own, :, :] if mask is not None and mask.dim() > 2 and mask.shape[-3] > 1 else mask
        total = total + first @ _attention(query[:, own], key[:, own], of_head, scale).squeeze(1)
    return total.squeeze(1) / (heads * query.shape[2])


def spatial_mask(query: Tensor, key: Tensor, scale: float | None) -> Tensor:
    """Compute what the last token says about every token, in float32 even under autocast (SAT).

    Args:
        query: (B, S, N, d).
        key: (B, S, N, d).
        scale: Of the products; None for 1 / sqrt(d).

    Returns:
        (B, N) in (0, 1), the sigmoid of the mean over the heads of the last query's products with the keys.
    """
    with torch.autocast(query.device.type, enabled=False):
        last = query[:, :, -1:].float() * (query.shape[-1] ** -0.5 if scale is None else scale)
        products = (last @ key.float().transpose(-2, -1)).squeeze(2)
        return products.mean(dim=1).sigmoid()
