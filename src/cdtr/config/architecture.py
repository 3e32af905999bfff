"""The keys that ``backbone.overrides`` may pass to timm: the shape of a transformer, within bounds.

A run folder may come from an unknown source. timm's constructors also take paths, addresses and names of classes, so
keys that are not listed here are refused, and the bounds limit the work to that of a large transformer.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictInt, ValidationError

from cdtr.config.checking import Section
from cdtr.text import did_you_mean

_MOST_WEIGHTS = 3_000_000_000  # parameters of the blocks; timm's largest plain transformer has 1.8 billion

Share = Annotated[float, Field(ge=0, lt=1)]


class Architecture(Section):
    """Keys of timm's transformers. None is the value of the named model and is not passed on."""

    patch_size: Annotated[StrictInt, Field(ge=1, le=256)] | None = None
    embed_dim: Annotated[StrictInt, Field(ge=1, le=4096)] | None = None
    depth: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    num_heads: Annotated[StrictInt, Field(ge=1, le=256)] | None = None
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] | None = None
    reg_tokens: Annotated[StrictInt, Field(ge=0, le=64)] | None = None
    init_values: Annotated[float, Field(gt=0, le=10)] | None = None
    qkv_bias: StrictBool | None = None
    qk_norm: StrictBool | None = None
    proj_bias: StrictBool | None = None
    pre_norm: StrictBool | None = None
    no_embed_class: StrictBool | None = None
    class_token: StrictBool | None = None
    use_abs_pos_emb: StrictBool | None = None
    use_rel_pos_bias: StrictBool | None = None
    use_shared_rel_pos_bias: StrictBool | None = None
    drop_rate: Share | None = None
    pos_drop_rate: Share | None = None
    proj_drop_rate: Share | None = None
    attn_drop_rate: Share | None = None


def checked_overrides(overrides: object) -> dict[str, Any]:
    """Check overrides.

    Args:
        overrides: A mapping; its keys are fields of ``Architecture``.

    Returns:
        The overrides without those that are None.

    Raises:
        ValueError: An unknown key, or a value out of its bounds.
    """
    if not isinstance(overrides, dict):
        raise ValueError("expected keys and values below it, such as {depth: 6}")
    known = list(Architecture.model_fields)
    for key in overrides:
        if key not in known:
            raise ValueError(
                f"unknown key {str(key)[:60]!r}{did_you_mean(str(key)[:60], known)}; only the shape of the transformer "
                f"may be set: {', '.join(known)}"
            )
    try:
        checked = Architecture.model_validate(overrides)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]} = {first['input']!r:.60}: {first['msg']}") from None
    width, depth, ratio = checked.embed_dim or 1, checked.depth or 1, checked.mlp_ratio or 4
    weights = depth * width**2 * (4 + 2 * ratio)
    if weights > _MOST_WEIGHTS:
        raise ValueError(
            f"embed_dim {width} and depth {depth} make {weights / 1e9:.1f} billion weights: expected fewer than "
            f"{_MOST_WEIGHTS / 1e9:g} billion"
        )
    return {key: value for key, value in checked.model_dump(exclude_unset=True).items() if value is not None}
