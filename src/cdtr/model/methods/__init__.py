"""Localization methods, one file each; the file's name is the method's name.

Start with ``cdtr.py``, the method of the paper. ``catr.py`` and ``tscam.py`` are the same network with fewer modules,
``scm.py``, ``sat.py`` and ``lctr.py`` change parts of it; ``docs/methods/`` has a page of each.

A method file, here or in another package that names it as an entry point ``cdtr.methods``, has

- ``MODULES``: names of the modules that are on unless the configuration says otherwise;
- ``build(config, classes, backbone, sba)``, which returns a ``cdtr.Method``;
- optionally ``TAKES``: names of the modules that may be switched on, by default any;
- optionally ``BUNDLES``, the values of ``fidelity`` that its settings exist for, by default ``paper`` alone;
- optionally ``BACKBONE``, ``transformer`` (the default) or ``cnn``: what ``build`` gets, a ``model.backbone.Backbone``
  or a ``model.cnn_backbone.CnnBackbone``;
- optionally ``OWN_MODULES``, a tuple of ``cdtr.config.ModuleSpec`` with settings, loss terms and descriptions of its
  own modules.
"""

from __future__ import annotations

import torch

from cdtr.config import REFINED, Config, is_on, specs_of, switch_conflict, switch_names, switched_by_method
from cdtr.errors import ConfigError
from cdtr.model.backbone import build_backbone
from cdtr.model.cnn_backbone import build_cnn_backbone
from cdtr.model.registry import find_method, method_names
from cdtr.model.sba import Sba
from cdtr.records import Method

__all__ = [
    "SWITCHES",
    "build_method",
    "builder_name",
    "initial_method",
    "method_names",
    "takes_cnn",
    "with_switches",
]

SWITCHES = switch_names()


def build_method(config: Config, classes: int, sba: Sba | None = None, load_weights: bool = True) -> Method:
    """Build the method of a configuration.

    Args:
        config: The settings; switches that are left open are set as the method says.
        classes: Number of classes C.
        sba: The loss of SBA, for training only.
        load_weights: Whether to load the backbone's pretrained weights; without, they are random.

    Raises:
        ConfigError: An unknown method, or settings that do not fit together.
        CheckpointError: The backbone's weights cannot be had.
    """
    config = with_switches(config)
    backbone = (
        build_cnn_backbone(config.backbone, config.data, config.method, load_weights)
        if takes_cnn(config)
        else build_backbone(config.backbone, config.data, load_weights, config.maps.padding)
    )
    method = find_method(config.method).build(config, classes, backbone, sba)
    if not isinstance(method, Method):
        raise ConfigError(
            f"build of the method {config.method} returned a {type(method).__name__}, expected a cdtr.Method: derive "
            "the class from it"
        )
    return method


def initial_method(config: Config, classes: int) -> Method:
    """Build the method as a training with this configuration starts: with its seed and its weights to start from.

    The caller's random state is kept. Raises as ``build_method``.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators of this process too.
        torch.default_generator.manual_seed(config.seed)
        return build_method(config, classes)


def with_switches(config: Config) -> Config:
    """Set the switches that a configuration leaves open as its method says.

    Raises:
        ConfigError: An unknown method, switches that cannot stand together or that the method does not have, or a
            bundle of other methods.
    """
    config = switched_by_method(config, find_method(config.method).MODULES)
    check_bundle(config)
    _check_modules(config)
    conflict = switch_conflict(config) or _of_transformers(config)
    if conflict:
        raise ConfigError(conflict)
    return config


def takes_cnn(config: Config) -> bool:
    """Whether the method of a configuration, or of the first run of a refined one, looks at a CNN alone."""
    name = config.refine.method if config.method == REFINED else config.method
    return getattr(find_method(name), "BACKBONE", "transformer") == "cnn"


def _of_transformers(config: Config) -> str:
    """Why a method of a CNN cannot have the modules that are on; empty for other methods, and where none is."""
    if not takes_cnn(config):
        return ""
    found = {f"{name}.enabled": bool(getattr(config, name).enabled) for name in (*SWITCHES, "guide")}
    setting = next((setting for setting, is_on in found.items() if is_on), None)
    if setting is not None:
        return (
            f"{setting} needs the attention of a transformer, and {config.method} looks at a CNN: set {setting}=false"
        )
    if config.maps.fuse != "product":
        return (
            f"maps.fuse {config.maps.fuse} is for methods with attention, not for {config.method}: leave it at product"
        )
    return ""


def check_bundle(config: Config) -> None:
    """Refuse a bundle of settings that belongs to other methods.

    Raises:
        ConfigError: ``config.method`` does not have ``config.fidelity`` among its ``BUNDLES``.
    """
    if config.fidelity not in _bundles(config.method):
        having = [name for name in method_names() if config.fidelity in _bundles(name)]
        raise ConfigError(
            f"fidelity: {config.fidelity} is not for method {config.method}, the released settings are those of "
            f"{' and '.join(having)}: choose one of these, or a configuration with fidelity: paper"
        )


def _check_modules(config: Config) -> None:
    """Refuse a module that is on and that the method does not have."""
    takes: frozenset[str] | None = getattr(find_method(config.method), "TAKES", None)
    for spec in specs_of(config):
        if takes is not None and spec.name not in takes and spec.can_be_off and is_on(config, spec.name):
            raise ConfigError(f"method {config.method} has no {spec.title}: set {spec.name}.enabled=false")


def _bundles(method: str) -> frozenset[str]:
    found: frozenset[str] = getattr(find_method(method), "BUNDLES", frozenset({"paper"}))
    return found


def builder_name(method: str) -> str:
    """Return the module whose ``build`` a method uses: methods with the same one differ by their switches alone."""
    return str(find_method(method).build.__module__)
