"""The backbone: patch tokens, and the attention that the class token pays to each patch.

How the attention is captured. timm's transformers compute attention inside
``torch.nn.functional.scaled_dot_product_attention``, a fused kernel that returns the output but not the attention.
``ClassTokenRows`` is a ``TorchFunctionMode``: while ``VitBackbone.forward`` runs the transformer, PyTorch hands every
call of a torch function to it. At each fused attention call it computes the attention of the class token alone, one
row of the N x N matrix, from the same queries and keys, and then makes the call as it is. So no N x N matrix is stored,
and no code of timm is copied or patched.

This works for every timm transformer that calls that function: ViT, DeiT, DeiT-III, DINO, DINOv2 and DINOv3 (with
rotary positions, norms of queries and keys, and register tokens), and relative positions (BEiT, ViT-RelPos), which
come as an attention mask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cdtr.config import BackboneConfig, DataConfig, Padding
from cdtr.errors import ConfigError
from cdtr.model.cnn import CnnFeatures, CnnStem
from cdtr.model.cnn_backbone import no_transformer
from cdtr.model.hub_weights import first_mismatch, not_fetched
from cdtr.model.registry import find_backbone
from cdtr.model.stem import ConvStem
from cdtr.model.weights import load_backbone_weights

_UNFIT_OPTIONS = (TypeError, AssertionError, AttributeError, LookupError, ArithmeticError)  # what timm raises for them


@dataclass(frozen=True, slots=True)
class Tokens:
    """Output of a backbone.

    Attributes:
        patches: (B, D, h, w), the output tokens on the patch grid, after the final norm.
        class_token: (B, D).
        attention: (B, L, S, h, w) float32, the class token's attention over the patches in every block and head. Each
            map sums to at most 1; the rest is the attention to the class token itself and to register tokens.
        features: (B, C_i, h_i, w_i) each, what the patches were made from, of a ``stem: cnn``; else None.
    """

    patches: Tensor
    class_token: Tensor
    attention: Tensor
    features: tuple[Tensor, ...] | None = None


class ClassTokenRows(TorchFunctionMode):
    """While active, appends the class token's attention of every fused attention call to ``rows``.

    Each row is (B, S, N) float32 over all N tokens, prefix tokens included. It costs 1/N of the attention itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **named)
        mask = args[3] if len(args) > 3 else named.get("attn_mask")
        self.rows.append(_class_token_row(args[0], args[1], mask, named.get("scale")))
        if args[0].device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled():
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
    """Compute the first token's attention over all tokens, in float32 even under autocast.

    Args:
        query: (B, S, N, d).
        key: (B, S, N, d).
        mask: (..., N, N), added to the logits; a boolean mask keeps the places that are True.
        scale: Of the logits; None for 1 / sqrt(d).

    Returns:
        (B, S, N), sums to 1 over N.
    """
    with torch.autocast(query.device.type, enabled=False):
        first = query[:, :, :1].float() * (query.shape[-1] ** -0.5 if scale is None else scale)
        logits = first @ key.float().transpose(-2, -1)
        if mask is not None:
            row = mask[..., :1, :]
            logits = logits.masked_fill(~row, float("-inf")) if row.dtype == torch.bool else logits + row.float()
        return logits.softmax(dim=-1).squeeze(2)


class Backbone(nn.Module, ABC):
    """Computes patch tokens and the class token's attention. Build one with ``build_backbone``.

    Attributes:
        grid_hw: Height and width of the patch grid.
        patch_size: Side of a patch in pixels.
        dim: Length D of a token.
        depth: Number of blocks L.
        heads: Number of heads S of a block.
        frozen: Whether all weights stay as they are.
    """

    grid_hw: tuple[int, int]
    patch_size: int
    dim: int
    depth: int
    heads: int
    frozen: bool = False

    if TYPE_CHECKING:

        def __call__(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> Tokens:
            """Run ``forward``."""
            ...

    @property
    def cnn(self) -> CnnFeatures | None:
        """The CNN whose features are the patches (``stem: cnn``); None without one."""
        return None

    def freeze(self) -> None:
        """Keep all weights, and the statistics of batch norm, as they are; no drop path in training."""
        self.frozen = True
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode, in which a frozen backbone computes what it does in evaluation."""
        super().train(mode and not self.frozen)
        return self

    @abstractmethod
    def forward(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> Tokens:
        """Compute the tokens.

        Args:
            images: (B, 3, H, W), normalised, of the size that the backbone was built for.
            levels: Feature maps of the images' ``cnn``, if they are known already; only a backbone that has one gets
                them.
        """


class VitBackbone(Backbone):
    """A timm vision transformer without its head.

    Args:
        vit: A model of timm with the attributes ``patch_embed``, ``blocks``, ``num_features`` and
            ``num_prefix_tokens``.
    """

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.vit = vit
        timm_vit: Any = vit
        self.grid_hw = tuple(timm_vit.patch_embed.grid_size)
        self.patch_size = int(timm_vit.patch_embed.patch_size[0])
        self.dim = int(timm_vit.num_features)
        self.depth = len(timm_vit.blocks)
        self.prefix_tokens = int(timm_vit.num_prefix_tokens)
        self.heads = int(timm_vit.blocks[0].attn.num_heads)

    @property
    def cnn(self) -> CnnFeatures | None:
        """The CNN whose features are the patches (``stem: cnn``); None without one."""
        stem: Any = self.vit.patch_embed
        return stem.features if isinstance(stem, CnnStem) else None

    def last_norm(self, tokens: Tensor) -> Tensor:
        """Apply ``fc_norm``, where BEiT and EVA have the final norm; tokens of other models stay as they are."""
        norm: nn.Module = getattr(self.vit, "fc_norm", nn.Identity())
        normed: Tensor = norm(tokens)
        return normed

    def forward(self, images: Tensor, levels: Sequence[Tensor] | None = None) -> Tokens:
        """Compute the tokens of images (B, 3, H, W) and capture the class token's attention."""
        features = None if self.cnn is None else self.cnn(images, levels)
        with ClassTokenRows() as attended:
            seen = images if features is None else features
            tokens = self.last_norm(self.vit.forward_features(seen))  # type: ignore[operator]
        batch, (height, width) = images.shape[0], self.grid_hw
        rows = torch.stack(attended.rows, dim=1)[..., self.prefix_tokens :]
        patches = tokens[:, self.prefix_tokens :].transpose(1, 2).reshape(batch, self.dim, height, width)
        return Tokens(patches, tokens[:, 0], rows.reshape(*rows.shape[:-1], height, width), features)


def build_backbone(
    config: BackboneConfig, data: DataConfig, load_weights: bool = True, padding: Padding = "zeros"
) -> Backbone:
    """Build a backbone by name for images of ``data.input_size``.

    Args:
        config: The settings of the backbone. Its name is one of ``cdtr.model.backbones`` or a timm transformer.
        data: The settings of the data, with the size of the images.
        load_weights: Whether to load pretrained weights; without, they are random.
        padding: Padding of a conv stem at the image's border.

    Raises:
        ConfigError: The model has no class token, or its patches do not fill the images.
        CheckpointError: The weights cannot be had.
    """
    own = find_backbone(config.name)
    backbone: Backbone = (
        _timm_backbone(config, data, load_weights, padding)
        if own is None
        else own.build(config, data, load_weights, padding)
    )
    if config.frozen:
        backbone.freeze()
    return backbone


def _timm_backbone(config: BackboneConfig, data: DataConfig, load_weights: bool, padding: Padding) -> VitBackbone:
    vit = _create(config, data, padding, load_weights)
    if getattr(vit, "cls_token", None) is None or not hasattr(vit, "blocks"):
        raise no_transformer(config.name)
    _require_whole_patches(vit, config.name, data.input_size)
    stem: Any = vit.patch_embed
    if isinstance(stem, CnnStem):
        stem.restore()
    for module in vit.modules():
        if hasattr(module, "fused_attn"):
            setattr(module, "fused_attn", True)  # noqa: B010
    if load_weights and config.weights not in {"hub", "none"}:
        load_backbone_weights(vit, config.weights)
    return VitBackbone(vit)


def _require_whole_patches(vit: Any, name: str, input_size: tuple[int, int]) -> None:
    """Refuse a size that is no multiple of the patches: timm drops the rest, which would shift every box."""
    patch = vit.patch_embed.patch_size[0]
    if any(side % patch for side in input_size):
        near = [" or ".join(str(n * patch) for n in sorted({max(s // patch, 1), -(-s // patch)})) for s in input_size]
        raise ConfigError(
            f"data.input_size {input_size[0]}x{input_size[1]} is no multiple of the {patch}-pixel patches of {name}: "
            f"set the height to {near[0]} and the width to {near[1]}"
        )


def _create(config: BackboneConfig, data: DataConfig, padding: Padding, load_weights: bool) -> nn.Module:
    pretrained = load_weights and config.weights == "hub"
    options: dict[str, Any] = {"img_size": data.input_size, "num_classes": 0, **config.overrides}
    if config.drop_path:
        options["drop_path_rate"] = config.drop_path
    if config.stem == "conv":
        options["embed_layer"] = partial(ConvStem, padding=padding)
    elif config.stem == "cnn":
        options["embed_layer"] = partial(CnnStem, config=config.cnn, data=data, load_weights=load_weights)
    if not timm.is_model(config.name):
        near = timm.list_models(f"*{config.name.split('_')[0]}*")[:8]
        raise ConfigError(
            f"unknown backbone {config.name!r}: choose a timm transformer such as {', '.join(near) or 'vit_*'}"
        )
    if pretrained and not timm.is_model_pretrained(config.name):
        raise ConfigError(f"timm has no pretrained weights for {config.name}: set backbone.weights to a file or none")
    unfit = (
        f"the pretrained weights of {config.name} do not fit stem/overrides: set backbone.weights=none or drop them "
        "with backbone.stem=patch, backbone.overrides=null"
    )
    if pretrained and config.stem != "patch":
        raise ConfigError(f"{unfit} (they have patches of their own, backbone.stem {config.stem} makes others)")
    try:
        model: nn.Module = timm.create_model(config.name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained or isinstance(error, _UNFIT_OPTIONS):
            unbuilt = ConfigError(f"backbone {config.name} cannot be built with {options}: {error}")
            raise (no_transformer(config.name) if "'img_size'" in str(error) else unbuilt) from error
        if isinstance(error, RuntimeError):
            raise ConfigError(f"{unfit} ({first_mismatch(str(error))})") from error
        # The hub's own errors, and whatever a damaged file raises.
        scratch = "" if config.frozen else ", or to none for a start from scratch"
        raise not_fetched(config.name, error, f"backbone.weights to a .pth or .safetensors file{scratch}") from error
    return model
