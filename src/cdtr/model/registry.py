"""The methods and backbones that there are, by name, without importing them or PyTorch.

A method is a file of ``cdtr/model/methods/``, or a module of another package that names it as an entry point
``cdtr.methods``. A backbone that is not one of timm's transformers is a file of ``cdtr/model/backbones/``, or an entry
point ``cdtr.backbones``. See ``docs/extending.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import ModuleType

from cdtr.errors import ConfigError
from cdtr.plugins import modules_of
from cdtr.text import did_you_mean

_METHODS, _BACKBONES = "cdtr.model.methods", "cdtr.model.backbones"


def method_names() -> list[str]:
    """List the names that ``method`` may have, sorted."""
    return list(_modules(_METHODS, "cdtr.methods"))


def find_method(name: str) -> ModuleType:
    """Import the module of a method.

    Raises:
        ConfigError: No method has that name.
    """
    found = _modules(_METHODS, "cdtr.methods")
    if name not in found:
        raise ConfigError(f"unknown method {name!r}{did_you_mean(name, found)}; choose one of {', '.join(found)}")
    return found[name]()


def find_backbone(name: str) -> ModuleType | None:
    """Import the module of a backbone; None if no module has that name, which may then be a transformer of timm."""
    found = _modules(_BACKBONES, "cdtr.backbones").get(name)
    return None if found is None else found()


def _modules(package: str, group: str) -> Mapping[str, Callable[[], ModuleType]]:
    """Search again only if the places changed: reading the entry points takes about 10 ms."""
    loaded = sys.modules.get(package)
    return _search(package, group, tuple(sys.path), () if loaded is None else tuple(loaded.__path__))


@lru_cache(maxsize=8)
def _search(
    package: str, group: str, path: tuple[str, ...], places: tuple[str, ...]
) -> Mapping[str, Callable[[], ModuleType]]:
    return modules_of(package, group)
