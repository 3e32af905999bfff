"""Find the modules of a plug-in kind, such as methods or formats, here and in other packages.

A module of the package is found by its file name. A module of another package is found through an entry point of a
group, whose name is the name of the plug-in:

    [project.entry-points."cdtr.formats"]
    my-format = "my_package.my_format"

Nothing is imported to list the names, so that ``--help`` can show them.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


def modules_of(package: str, group: str, defining: str = "") -> dict[str, Callable[[], ModuleType]]:
    """Find the plug-ins of a kind.

    Args:
        package: The package whose public modules are plug-ins, such as ``cdtr.formats``.
        group: The entry-point group of other packages.
        defining: Only modules whose source defines a function of this name; all modules if empty.

    Returns:
        A function that imports the module, by the name of the plug-in with ``_`` between words, sorted by name. The
        package's own module wins over an entry point of the same name.
    """
    found = {point.name.replace("-", "_"): point.value.partition(":")[0] for point in entry_points(group=group)}
    found |= {name: f"{package}.{name}" for name in _own_modules(package)}
    return {
        name: partial(import_module, module)
        for name, module in sorted(found.items())
        if not defining or _defines(module, defining)
    }


def _own_modules(package: str) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(_places(package)) if not module.name.startswith("_")]


def _places(package: str) -> list[str]:
    loaded = sys.modules.get(package)
    if loaded is not None:
        return list(loaded.__path__)
    spec = find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec is not None else []


def _defines(module: str, function: str) -> bool:
    """Whether the source of a module defines a function at its top level; the package around it is not imported."""
    package, _, name = module.rpartition(".")
    for place in _places(package) if package in sys.modules or package.startswith("cdtr.") else ():
        path = Path(place) / f"{name}.py"
        if path.is_file():
            return f"\ndef {function}(" in path.read_text(encoding="utf-8")
    return hasattr(import_module(module), function)
