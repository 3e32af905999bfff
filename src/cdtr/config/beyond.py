"""Features of a configuration beyond the paper: the table "Beyond the paper" of ``docs/fidelity.md``."""

from __future__ import annotations

from cdtr.config.sections import Config, RefineConfig
from cdtr.config.types import OF_CNN, REFINED

_BALANCE = {"sampling": "balanced sampling", "weights": "class weights"}
_OF_MASKS = ("trimap", "share")  # of refine, for the target mask alone
_FEATURES_OF_SMALL = 2  # a run without a recipe counts as `small` from this many features beyond the paper on


def beyond_paper(config: Config) -> dict[str, str]:
    """The features of a configuration that the paper's method lacks, as far as they have an effect.

    Args:
        config: The settings; a module whose switch is left open counts as on.

    Returns:
        Feature to its words, such as ``{"guide": "guide", "prior": "border prior"}``; empty for the paper's method.
    """
    prior = _prior_in_use(config)
    words = f"prior maps ({config.data.prior_maps_taught_with})" if prior == "maps" else f"{prior} prior"
    found = {
        "guide": "guide" if config.guide.enabled else None,
        "prior": None if prior is None else words,
        "stem": _stem(config),
        "frozen": "frozen backbone" if config.backbone.frozen else None,
        "classifier": "classifier of CNN features" if _probes(config) else None,
        "fuse": None if config.maps.fuse == "product" else _fused(config),
        "padding": "replicate padding" if config.maps.padding == "replicate" else None,
        "balance": _BALANCE.get(config.train.balance),
        "refine": _second_stage(config),
    }
    return {feature: words for feature, words in found.items() if words is not None}


def earlier_recipe(config: Config) -> str:
    """The recipe of a resolved configuration that was written before recipes had names.

    Args:
        config: The settings of a run folder.

    Returns:
        ``official``, ``small`` or ``paper``: never ``paper`` where the guide is on.
    """
    if config.fidelity == "official":
        return "official"
    return "small" if config.guide.enabled or len(beyond_paper(config)) >= _FEATURES_OF_SMALL else "paper"


def switch_conflict(config: Config) -> str:
    """Why the switches of a configuration cannot stand together.

    Args:
        config: The settings; a switch that is left open is in nobody's way.

    Returns:
        One line with what to do, or an empty string where nothing is wrong.
    """
    if config.ski.enabled and config.csm.enabled is False:
        return "ski.enabled needs csm.enabled: SKI takes its offsets from CSM's maps (Eq. 10)"
    if config.ocm.enabled and config.ocm.prior != "none" and not config.guide.enabled:
        reason = (
            "the guide is what learns from maps" if config.ocm.prior == "maps" else "it compares the guide's features"
        )
        return f"ocm.prior {config.ocm.prior} needs guide.enabled: {reason}"
    if _prior_in_use(config) in OF_CNN and not (
        config.guide.features == "backbone" and config.backbone.stem == "cnn" and config.backbone.cnn.frozen
    ):
        return (
            f"the prior {_prior_in_use(config)} needs guide.features backbone, backbone.stem cnn and "
            "backbone.cnn.frozen true: it is a direction in the features of a frozen CNN"
        )
    if config.backbone.frozen and config.backbone.weights == "none":
        return (
            "backbone.frozen true needs backbone.weights hub or a file, as random weights would never learn: set "
            "backbone.frozen=false for a start from scratch"
        )
    if config.backbone.frozen and config.backbone.stem == "cnn" and not config.backbone.cnn.frozen:
        return "backbone.frozen true needs backbone.cnn.frozen true: the CNN is a part of what stays as it is"
    if _probes(config) and not config.backbone.cnn.frozen:
        return "backbone.cnn.classifier features needs backbone.cnn.frozen true: it is fitted once, before training"
    if config.guide.attention != "evidence" and not config.guide.enabled:
        return f"guide.attention {config.guide.attention} needs guide.enabled: the guide is what teaches it"
    if config.method == REFINED and not (config.refine.first and config.data.prior_maps):
        return f"method {REFINED} is the second stage of a run: train it with `cdtr refine RUN --data DATA --out OUT`"
    if config.method == REFINED and config.refine.target == "box":
        unused = [name for name in _OF_MASKS if getattr(config.refine, name) != getattr(RefineConfig(), name)]
        if unused:
            return f"refine.{unused[0]} is a setting of masks, and refine.target is box: leave it out"
    if uses_prior_maps(config) and config.data.prior_maps is None:
        return "a prior of maps needs data.prior_maps: the folder with a map of each training image"
    if uses_prior_maps(config) and config.data.augment == "official":
        return "a prior of maps cannot follow data.augment official, which warps images: use crop_flip"
    return ""


def uses_prior_maps(config: Config) -> bool:
    """Whether training reads the maps of ``data.prior_maps``, as an object prior or as targets of a second stage."""
    return config.method == REFINED or _prior_in_use(config) == "maps"


def _probes(config: Config) -> bool:
    return config.backbone.stem == "cnn" and config.backbone.cnn.classifier == "features"


def _fused(config: Config) -> str:
    """What the maps are made of: without a prior, or without OCM, what ``maps.fuse`` then stands for."""
    if config.maps.fuse not in {"prior", "pseudo"}:
        return f"{config.maps.fuse} maps"
    if config.maps.fuse == "prior" and _prior_in_use(config) in OF_CNN:
        return "maps with the prior"
    return "attention maps" if config.ocm.enabled is False else "pseudo maps"


def _second_stage(config: Config) -> str | None:
    taught = config.data.prior_maps_taught_with
    of_boxes = "" if taught == "labels" else f" ({taught})"
    network = "a box regressor" if config.refine.target == "box" else "a segmenter"
    return f"{network} as second stage{of_boxes}" if config.method == REFINED else None


def _stem(config: Config) -> str | None:
    stem, cnn = config.backbone.stem, config.backbone.cnn
    if stem == "cnn":
        return f"patches from {'a frozen ' if cnn.frozen else ''}{cnn.name}"
    return "convolutional stem" if stem == "conv" else None


def _prior_in_use(config: Config) -> str | None:
    """OCM's prior, or attention's where OCM has none; the guide is what compares patches."""
    if not config.guide.enabled:
        return None
    if config.ocm.enabled is not False and config.ocm.prior != "none":
        return config.ocm.prior
    return None if config.guide.attention == "evidence" else config.guide.attention
