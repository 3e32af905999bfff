"""Settings of single methods, and of methods from other packages.

A module of ``cdtr`` that belongs to some methods (``ModuleSpec.methods``) has a section in their configurations alone.
A method that is found through the entry point ``cdtr.methods`` may bring settings of its own, as ``ModuleSpec`` in its
tuple ``OWN_MODULES``. Its module is imported only if a configuration names the method or has a section that ``cdtr``
does not know, so that a configuration of ``cdtr``'s own methods needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pydantic import create_model

from cdtr.config.checking import checked_section
from cdtr.config.modules import ModuleSpec, module_specs
from cdtr.config.sections import Config
from cdtr.errors import ConfigError

_GROUP = "cdtr.methods"
_METHODS = Path(__file__).parents[1] / "model" / "methods"


def checked_config(tree: Mapping[str, Any], origin: str) -> Config:
    """Check a tree of settings.

    Args:
        tree: Keys and values; what is missing has its default.
        origin: Where the tree comes from, for messages.

    Returns:
        The configuration, with the sections that the method of another package brings.

    Raises:
        ConfigError: An unknown key, or a value that does not fit.
    """
    return checked_section(tree, _tree_with(own_specs(tree)), origin)


def specs_of(config: Config) -> tuple[ModuleSpec, ...]:
    """List the modules whose section a configuration has, in the order of the paper, those of plug-ins last."""
    own = [spec for spec in module_specs() if spec.name in type(config).model_fields]
    return (*own, *(spec for spec in type(config).plug_in_specs if spec not in own))


def own_specs(tree: Mapping[str, Any]) -> tuple[ModuleSpec, ...]:
    """Find the modules that a tree of settings needs besides those of ``Config``."""
    method = str(tree.get("method", Config.model_fields["method"].default))
    found = [
        spec
        for spec in module_specs()
        if spec.name not in Config.model_fields and (not spec.methods or method in spec.methods or spec.name in tree)
    ]
    unknown = {str(key) for key in tree} - Config.model_fields.keys() - {spec.name for spec in found}
    if not unknown and (_METHODS / f"{method}.py").is_file():
        return tuple(found)
    for point in entry_points(group=_GROUP):
        if point.name.replace("-", "_") == method:
            found += _specs_of_method(point)
        elif unknown:
            found += [spec for spec in _specs_of_method(point) if spec.name in unknown]
    return tuple(dict.fromkeys(found))


def _specs_of_method(point: EntryPoint) -> tuple[ModuleSpec, ...]:
    try:
        method = point.load()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        raise ConfigError(
            f"the method {point.name} of another package ({point.value}) cannot be imported "
            f"({type(error).__name__}: {reason}): repair or uninstall that package"
        ) from error
    specs: tuple[ModuleSpec, ...] = tuple(getattr(method, "OWN_MODULES", ()))
    taken = [spec.name for spec in specs if spec.name in Config.model_fields]
    if taken:
        raise ConfigError(f"the method {point.name} brings the section {taken[0]!r}, which cdtr has: rename it")
    return specs


@cache
def _tree_with(specs: tuple[ModuleSpec, ...]) -> type[Config]:
    """The class of configurations with more sections: one class for the same modules, so that equal trees are equal."""
    if not specs:
        return Config
    fields: dict[str, Any] = {spec.name: (spec.section, spec.section()) for spec in specs}
    tree = create_model("Config", __base__=Config, **fields)
    tree.plug_in_specs = specs
    return tree
