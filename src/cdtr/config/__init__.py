"""Everything a run depends on, in one checked tree, and how it is read."""

from cdtr.config.ablation import Ablation, load_ablation
from cdtr.config.loading import load_config, parse_config, preset_names
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
    PretrainConfig,
    SbaConfig,
    SkiConfig,
    TrainConfig,
    WeightingConfig,
)

__all__ = [
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
    "PretrainConfig",
    "SbaConfig",
    "SkiConfig",
    "TrainConfig",
    "WeightingConfig",
    "load_ablation",
    "load_config",
    "parse_config",
    "preset_names",
]
