"""The methods that there are, without importing them or PyTorch."""

from __future__ import annotations

import pkgutil
import sys
from importlib.util import find_spec

_PACKAGE = "cdtr.model.methods"


def method_names() -> list[str]:
    """List the methods by the files of their package.

    Returns:
        The names that ``method`` may have, sorted.
    """
    loaded = sys.modules.get(_PACKAGE)
    if loaded is not None:
        places = list(loaded.__path__)
    else:
        spec = find_spec(_PACKAGE)
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return sorted(module.name for module in pkgutil.iter_modules(places))
