"""Everything a run depends on, in one checked tree, and how it is read."""

from cdtr.config.ablation import Ablation, load_ablation
from cdtr.config.loading import load_config, parse_config, preset_names
from cdtr.config.paper import (
    PAPER_PROTOCOL,
    PaperData,
    PaperFigure,
    PaperRow,
    PaperTable,
    Reproduction,
    load_reproduction,
    reproduction_names,
)
from cdtr.config.sections import (
    BackboneConfig,
    Config,
    CsmConfig,
    DataConfig,
    EvaluationConfig,
    GuideConfig,
    MapsConfig,
    OcmConfig,
    Padding,
    SbaConfig,
    SkiConfig,
    TrainConfig,
    WeightingConfig,
)

__all__ = [
    "PAPER_PROTOCOL",
    "Ablation",
    "BackboneConfig",
    "Config",
    "CsmConfig",
    "DataConfig",
    "EvaluationConfig",
    "GuideConfig",
    "MapsConfig",
    "OcmConfig",
    "Padding",
    "PaperData",
    "PaperFigure",
    "PaperRow",
    "PaperTable",
    "Reproduction",
    "SbaConfig",
    "SkiConfig",
    "TrainConfig",
    "WeightingConfig",
    "load_ablation",
    "load_config",
    "load_reproduction",
    "parse_config",
    "preset_names",
    "reproduction_names",
]
