"""cdtr: boxes and heat maps from images sorted by class.

The public names are imported when first asked for, so that `cdtr --help` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdtr.api import Localizer, load_model
    from cdtr.records import Annotation, Batch, Localization, Method, ModelOutput, Sample

__all__ = ["Annotation", "Batch", "Localization", "Localizer", "Method", "ModelOutput", "Sample", "load_model"]

_HOMES = {"Localizer": "cdtr.api", "load_model": "cdtr.api"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'cdtr' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "cdtr.records")), name)
