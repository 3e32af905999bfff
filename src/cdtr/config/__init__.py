"""Everything a run depends on, in one checked tree, and how it is read."""

from cdtr.config.ablation import Ablation, load_ablation
from cdtr.config.loading import load_config, parse_config, preset_names, read_tree
from cdtr.config.sections import (
    AttentionReduce,
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
    "Ablation",
    "AttentionReduce",
    "BackboneConfig",
    "Config",
    "CsmConfig",
    "DataConfig",
    "EvaluationConfig",
    "GuideConfig",
    "MapsConfig",
    "OcmConfig",
    "Padding",
    "SbaConfig",
    "SkiConfig",
    "TrainConfig",
    "WeightingConfig",
    "load_ablation",
    "load_config",
    "parse_config",
    "preset_names",
    "read_tree",
]
