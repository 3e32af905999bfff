"""cdtr: boxes and heat maps from images sorted by class.

The public names are imported when first asked for, so that `cdtr --help` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cdtr.api import LocalizedImage, LocalizedImages, LocalizeOptions, Localizer, load_model
    from cdtr.evaluation import Calibration, Evaluation
    from cdtr.evaluation.few_boxes import BudgetPoint
    from cdtr.records import Annotation, Batch, Localization, Method, ModelOutput, Sample
    from cdtr.reports.data_check import DataCheck
    from cdtr.workflows.ablate import AblationResult, ablate
    from cdtr.workflows.bench import BenchResult, bench
    from cdtr.workflows.budget import Budget, budget
    from cdtr.workflows.calibrate import calibrate
    from cdtr.workflows.calibrated_run import CalibratedRun
    from cdtr.workflows.check_data import check_data
    from cdtr.workflows.compare import Comparison, compare
    from cdtr.workflows.describe import Description, describe
    from cdtr.workflows.evaluate import evaluate
    from cdtr.workflows.export import Exported, export
    from cdtr.workflows.import_corrections import Corrections, import_corrections
    from cdtr.workflows.localize import localize
    from cdtr.workflows.localized import Localized
    from cdtr.workflows.maps import localize_maps
    from cdtr.workflows.pretrain import PretrainedRun, pretrain
    from cdtr.workflows.priors import PriorComparison, compare_priors, write_prior_config
    from cdtr.workflows.refine import refine
    from cdtr.workflows.report import Report, report
    from cdtr.workflows.reproduce import ReproductionResult, reproduce
    from cdtr.workflows.score import score
    from cdtr.workflows.scores import Scores
    from cdtr.workflows.train import Run, train

    __version__: str

__all__ = [
    "AblationResult",
    "Annotation",
    "Batch",
    "BenchResult",
    "Budget",
    "BudgetPoint",
    "CalibratedRun",
    "Calibration",
    "Comparison",
    "Corrections",
    "DataCheck",
    "Description",
    "Evaluation",
    "Exported",
    "Localization",
    "LocalizeOptions",
    "Localized",
    "LocalizedImage",
    "LocalizedImages",
    "Localizer",
    "Method",
    "ModelOutput",
    "PretrainedRun",
    "PriorComparison",
    "Report",
    "ReproductionResult",
    "Run",
    "Sample",
    "Scores",
    "ablate",
    "bench",
    "budget",
    "calibrate",
    "check_data",
    "compare",
    "compare_priors",
    "describe",
    "evaluate",
    "export",
    "import_corrections",
    "load_model",
    "localize",
    "localize_maps",
    "pretrain",
    "refine",
    "report",
    "reproduce",
    "score",
    "train",
    "write_prior_config",
]

_HOMES = {
    "AblationResult": "cdtr.workflows.ablate",
    "BenchResult": "cdtr.workflows.bench",
    "Budget": "cdtr.workflows.budget",
    "BudgetPoint": "cdtr.evaluation.few_boxes",
    "CalibratedRun": "cdtr.workflows.calibrated_run",
    "Calibration": "cdtr.evaluation",
    "Comparison": "cdtr.workflows.compare",
    "Corrections": "cdtr.workflows.import_corrections",
    "DataCheck": "cdtr.reports.data_check",
    "Description": "cdtr.workflows.describe",
    "Evaluation": "cdtr.evaluation",
    "Exported": "cdtr.workflows.export",
    "LocalizeOptions": "cdtr.api",
    "Localized": "cdtr.workflows.localized",
    "LocalizedImage": "cdtr.api",
    "LocalizedImages": "cdtr.api",
    "Localizer": "cdtr.api",
    "PretrainedRun": "cdtr.workflows.pretrain",
    "PriorComparison": "cdtr.workflows.priors",
    "Report": "cdtr.workflows.report",
    "ReproductionResult": "cdtr.workflows.reproduce",
    "Run": "cdtr.workflows.train",
    "Scores": "cdtr.workflows.scores",
    "ablate": "cdtr.workflows.ablate",
    "bench": "cdtr.workflows.bench",
    "budget": "cdtr.workflows.budget",
    "calibrate": "cdtr.workflows.calibrate",
    "check_data": "cdtr.workflows.check_data",
    "compare": "cdtr.workflows.compare",
    "compare_priors": "cdtr.workflows.priors",
    "describe": "cdtr.workflows.describe",
    "evaluate": "cdtr.workflows.evaluate",
    "export": "cdtr.workflows.export",
    "import_corrections": "cdtr.workflows.import_corrections",
    "load_model": "cdtr.api",
    "localize": "cdtr.workflows.localize",
    "localize_maps": "cdtr.workflows.maps",
    "pretrain": "cdtr.workflows.pretrain",
    "refine": "cdtr.workflows.refine",
    "report": "cdtr.workflows.report",
    "reproduce": "cdtr.workflows.reproduce",
    "score": "cdtr.workflows.score",
    "train": "cdtr.workflows.train",
    "write_prior_config": "cdtr.workflows.priors",
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
