"""cdtr: boxes and heat maps from images sorted by class.

The public names are imported when first asked for, so that `cdtr --help` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdtr.api import LocalizeOptions, Localizer, load_model
    from cdtr.records import Annotation, Batch, Localization, Method, ModelOutput, Sample
    from cdtr.workflows.export import export
    from cdtr.workflows.localize import localize
    from cdtr.workflows.maps import localize_maps

    __version__: str

__all__ = [
    "Annotation",
    "Batch",
    "Localization",
    "LocalizeOptions",
    "Localizer",
    "Method",
    "ModelOutput",
    "Sample",
    "export",
    "load_model",
    "localize",
    "localize_maps",
]

_HOMES = {
    "LocalizeOptions": "cdtr.api",
    "Localizer": "cdtr.api",
    "export": "cdtr.workflows.export",
    "load_model": "cdtr.api",
    "localize": "cdtr.workflows.localize",
    "localize_maps": "cdtr.workflows.maps",
}


def __dir__() -> list[str]:
    """What completion and ``help`` show: the public names, imported yet or not, and none of those used here."""
    return sorted([*__all__, "__version__", *(name for name in globals() if name.startswith("__"))])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("cdtr")
    if name not in __all__:
        raise AttributeError(f"module 'cdtr' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "cdtr.records")), name)
