"""The backbone: patch tokens, and the attention that the class token pays to each patch (``attention.py``)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cdtr.config import BackboneConfig, DataConfig, Padding
from cdtr.errors import ConfigError
from cdtr.model.attention import NOTHING_MORE, ClassTokenRows, Watch
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
        relational: (B, L, h, w) float32, the relational rows of every block, if ``Watch`` asks for them.
        spatial: (B, n, h, w) float32 in (0, 1), the masks of the spatial token in the last n blocks, if there is one.
    """

    patches: Tensor
    class_token: Tensor
    attention: Tensor
    features: tuple[Tensor, ...] | None = None
    relational: Tensor | None = None
    spatial: Tensor | None = None


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

    if TYPE_CHECKING:

        def __call__(
            self, images: Tensor, levels: Sequence[Tensor] | None = None, watch: Watch = NOTHING_MORE
        ) -> Tokens:
            """Run ``forward``."""
            ...

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

    @property
    def takes_a_token(self) -> bool:
        """Whether a token may be appended to the patches: not with relative or rotary positions."""
        return isinstance(self.vit, VisionTransformer)

    def forward(self, images: Tensor, levels: Sequence[Tensor] | None = None, watch: Watch = NOTHING_MORE) -> Tokens:
        """Compute the tokens of images (B, 3, H, W) and capture the class token's attention.

        Args:
            images: (B, 3, H, W), normalised.
            levels: Feature maps of the images' ``cnn``, if they are known already.
            watch: What else to compute; a spatial token needs ``takes_a_token``.
        """
        vit: Any = self.vit
        features = None if self.cnn is None else self.cnn(images, levels)
        masked_from = None if watch.token is None else self.depth - watch.blocks
        before_norm: list[Tensor] = []
        with ExitStack() as hooks:
            attended = hooks.enter_context(ClassTokenRows(watch.relational, watch.class_row, masked_from))
            if watch.token is not None:
                append = watch.token.append
                hooks.enter_context(vit.blocks[0].register_forward_pre_hook(lambda _, inputs: append(*inputs)))
            if watch.before_norm:
                keep = before_norm.append
                hooks.enter_context(vit.norm.register_forward_pre_hook(lambda _, inputs: keep(inputs[0])))
            tokens = self.last_norm(vit.forward_features(images if features is None else features))
        tokens = before_norm[0] if watch.before_norm else tokens
        patches = self._of_patches(tokens.transpose(1, 2))
        return Tokens(
            patches,
            tokens[:, 0],
            self._of_patches(torch.stack(attended.rows, dim=1)),
            features,
            self._of_patches(torch.stack(attended.relational, dim=1)) if attended.relational else None,
            self._of_patches(torch.stack(attended.masks, dim=1)) if attended.masks else None,
        )

    def _of_patches(self, values: Tensor) -> Tensor:
        """The values (..., N) of all tokens, on the grid of the patches, (..., h, w)."""
        count = self.grid_hw[0] * self.grid_hw[1]
        patches = values[..., self.prefix_tokens : self.prefix_tokens + count]
        return patches.reshape(*values.shape[:-1], *self.grid_hw)


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
