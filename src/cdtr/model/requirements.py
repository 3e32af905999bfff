"""What the methods of other papers need: refused in one line before the first step where it is not there."""

from __future__ import annotations

from cdtr.config import Config
from cdtr.errors import ConfigError
from cdtr.model.backbone import Backbone, VitBackbone


def require_classes(config: Config, classes: int) -> None:
    """Refuse a single class, which teaches a classifier nothing.

    Raises:
        ConfigError: There are fewer than two classes.
    """
    if classes < 2:
        raise ConfigError(
            f"method {config.method} learns from what tells classes apart, and the data has {classes} class: add "
            "images of another class, such as images without the object"
        )


def require_transformer(config: Config, backbone: Backbone, appends: bool = False) -> VitBackbone:
    """Refuse a backbone without attention.

    Args:
        config: The settings.
        backbone: The backbone that they name.
        appends: Whether the method appends a token to the patches.

    Returns:
        The backbone.

    Raises:
        ConfigError: It is no transformer of timm, or its positions are relative and a token is to be appended.
    """
    name = config.backbone.name
    if not isinstance(backbone, VitBackbone):
        raise ConfigError(
            f"method {config.method} needs the attention of a transformer, found backbone.name {name}: choose a "
            "transformer of timm such as deit_small_patch16_224"
        )
    if appends and not backbone.takes_a_token:
        raise ConfigError(
            f"method {config.method} appends a token to the patches, which the relative or rotary positions of {name} "
            "do not allow: choose a deit_*, vit_* or dinov2 model"
        )
    return backbone


def require_plain_maps(config: Config, *fusions: str) -> None:
    """Refuse settings of the maps that the method does not have.

    Args:
        config: The settings.
        fusions: The values of ``maps.fuse`` that the method has.

    Raises:
        ConfigError: ``maps.fuse`` is another, or ``maps.evidence`` asks for the mean with CSM's class maps.
    """
    if config.maps.fuse not in fusions:
        raise ConfigError(
            f"method {config.method} has no maps.fuse {config.maps.fuse}: expected {' or '.join(fusions)}"
        )
    if config.maps.evidence != "sum" and not config.csm.enabled:
        raise ConfigError(f"method {config.method} has no class maps of CSM: set maps.evidence=sum")
