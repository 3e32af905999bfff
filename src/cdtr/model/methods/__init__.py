"""One file per method; the file's name is the method's name.

A method file has ``MODULES``, the paper's modules that are on unless the configuration says otherwise, and
``build(config, classes, backbone, sba)`` that answers a ``torch.nn.Module`` which is a ``cdtr.records.Method``. It may
have ``BUNDLES``, the values of ``fidelity`` that its settings exist for; without it that is ``paper`` alone.
"""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType

import torch
from torch import nn

from cdtr.config import Config, switch_conflict
from cdtr.errors import ConfigError
from cdtr.model.backbone import build_backbone
from cdtr.model.registry import method_names
from cdtr.model.sba import Sba

__all__ = [
    "SWITCHES",
    "build_method",
    "builder_name",
    "initial_method",
    "method_names",
    "with_switches",
]

SWITCHES = ("csm", "ocm", "ski", "sba")


def build_method(config: Config, classes: int, sba: Sba | None = None, load_weights: bool = True) -> nn.Module:
    """Build ``config.method`` for a number of classes. ``sba`` is wired in for training only."""
    config = with_switches(config)
    backbone = build_backbone(config.backbone, config.data, load_weights, config.maps.padding)
    method: nn.Module = _method_file(config.method).build(config, classes, backbone, sba)
    return method


def initial_method(config: Config, classes: int) -> nn.Module:
    """The method as a training of this resolved configuration starts with it: its seed, and the weights to start from.

    The random numbers of the caller stay as they are. Raises as ``build_method``.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators of this process too.
        torch.default_generator.manual_seed(config.seed)
        return build_method(config, classes)


def with_switches(config: Config) -> Config:
    """The configuration with every module's switch as the method says, where it was left open."""
    modules = _method_file(config.method).MODULES
    open_switches = {
        name: {"enabled": "auto" if name == "sba" and name in modules else name in modules}
        for name in SWITCHES
        if getattr(config, name).enabled is None
    }
    config = config.updated(**open_switches)
    check_bundle(config)
    conflict = switch_conflict(config)
    if conflict:
        raise ConfigError(conflict)
    return config


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


def _bundles(method: str) -> frozenset[str]:
    found: frozenset[str] = getattr(_method_file(method), "BUNDLES", frozenset({"paper"}))
    return found


def builder_name(method: str) -> str:
    """Whose ``build`` a method uses: methods of one builder differ by their switches alone."""
    return str(_method_file(method).build.__module__)


def _method_file(name: str) -> ModuleType:
    names = method_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown method {name!r}{hint}; choose one of {', '.join(names)}")
    return importlib.import_module(f"{__name__}.{name}")
