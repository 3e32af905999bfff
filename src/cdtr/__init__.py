"""cdtr: boxes and heat maps from images sorted by class.

The public names are imported when first asked for, so that `cdtr --help` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdtr.api import LocalizeOptions, Localizer, load_model
    from cdtr.records import Annotation, Batch, Localization, Method, ModelOutput, Sample
    from cdtr.workflows.ablate import ablate
    from cdtr.workflows.calibrate import calibrate
    from cdtr.workflows.check_data import check_data
    from cdtr.workflows.compare import compare
    from cdtr.workflows.describe import describe
    from cdtr.workflows.evaluate import evaluate
    from cdtr.workflows.export import export
    from cdtr.workflows.import_corrections import import_corrections
    from cdtr.workflows.localize import localize
    from cdtr.workflows.maps import localize_maps
    from cdtr.workflows.pretrain import pretrain
    from cdtr.workflows.report import report
    from cdtr.workflows.reproduce import reproduce
    from cdtr.workflows.score import score
    from cdtr.workflows.train import Run, train

    __version__: str

__all__ = [
    "Annotation",
    "Batch",
    "Localization",
    "LocalizeOptions",
    "Localizer",
    "Method",
    "ModelOutput",
    "Run",
    "Sample",
    "ablate",
    "calibrate",
    "check_data",
    "compare",
    "describe",
    "evaluate",
    "export",
    "import_corrections",
    "load_model",
    "localize",
    "localize_maps",
    "pretrain",
    "report",
    "reproduce",
    "score",
    "train",
]

_HOMES = {
    "LocalizeOptions": "cdtr.api",
    "Localizer": "cdtr.api",
    "Run": "cdtr.workflows.train",
    "ablate": "cdtr.workflows.ablate",
    "calibrate": "cdtr.workflows.calibrate",
    "check_data": "cdtr.workflows.check_data",
    "compare": "cdtr.workflows.compare",
    "describe": "cdtr.workflows.describe",
    "evaluate": "cdtr.workflows.evaluate",
    "export": "cdtr.workflows.export",
    "import_corrections": "cdtr.workflows.import_corrections",
    "load_model": "cdtr.api",
    "localize": "cdtr.workflows.localize",
    "localize_maps": "cdtr.workflows.maps",
    "pretrain": "cdtr.workflows.pretrain",
    "report": "cdtr.workflows.report",
    "reproduce": "cdtr.workflows.reproduce",
    "score": "cdtr.workflows.score",
    "train": "cdtr.workflows.train",
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
