"""All settings of a run in one checked tree, and how they are read.

Start with ``sections.py``: ``Config`` is the tree, with the paper's values on CUB as defaults. ``modules/`` has the
settings of CSM, OCM, SKI, SBA and the guide, one file each, with their descriptions for reports. ``loading.py`` reads
presets, YAML files and ``--set`` overrides; ``plug_ins.py`` adds the settings of methods from other packages;
``checking.py`` refuses unknown keys and names the nearest known one.
"""

from cdtr.config.ablation import Ablation, clip_settings, load_ablation
from cdtr.config.bench import Bench, BenchPart, BenchReference, load_bench
from cdtr.config.beyond import beyond_paper, switch_conflict, uses_prior_maps
from cdtr.config.checking import Section
from cdtr.config.loading import load_config, parse_config, preset_names, read_text_tree, read_tree
from cdtr.config.modules import ModuleSpec, module_specs
from cdtr.config.modules.csm import CsmConfig
from cdtr.config.modules.guide import GuideConfig
from cdtr.config.modules.ocm import OcmConfig
from cdtr.config.modules.sba import SbaConfig
from cdtr.config.modules.ski import SkiConfig
from cdtr.config.paper import (
    PAPER_PROTOCOL,
    PaperData,
    PaperDifference,
    PaperFigure,
    PaperGallery,
    PaperRow,
    PaperTable,
    Reproduction,
    load_reproduction,
    reproduction_names,
)
from cdtr.config.plug_ins import specs_of
from cdtr.config.recipes import is_paper, recipe_label
from cdtr.config.sections import (
    BackboneConfig,
    CnnConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    MapsConfig,
    PretrainConfig,
    RefineConfig,
    TrainConfig,
    WeightingConfig,
)
from cdtr.config.switches import for_inference, is_on, switch_names, switched_by_method, without_modules
from cdtr.config.types import OF_CNN, REFINED, AttentionReduce, Padding, Prior, ViewName

__all__ = [
    "OF_CNN",
    "PAPER_PROTOCOL",
    "REFINED",
    "Ablation",
    "AttentionReduce",
    "BackboneConfig",
    "Bench",
    "BenchPart",
    "BenchReference",
    "CnnConfig",
    "Config",
    "CsmConfig",
    "DataConfig",
    "EvaluationConfig",
    "GuideConfig",
    "MapsConfig",
    "ModuleSpec",
    "OcmConfig",
    "Padding",
    "PaperData",
    "PaperDifference",
    "PaperFigure",
    "PaperGallery",
    "PaperRow",
    "PaperTable",
    "PretrainConfig",
    "Prior",
    "RefineConfig",
    "Reproduction",
    "SbaConfig",
    "Section",
    "SkiConfig",
    "TrainConfig",
    "ViewName",
    "WeightingConfig",
    "beyond_paper",
    "clip_settings",
    "for_inference",
    "is_on",
    "is_paper",
    "load_ablation",
    "load_bench",
    "load_config",
    "load_reproduction",
    "module_specs",
    "parse_config",
    "preset_names",
    "read_text_tree",
    "read_tree",
    "recipe_label",
    "reproduction_names",
    "specs_of",
    "switch_conflict",
    "switch_names",
    "switched_by_method",
    "uses_prior_maps",
    "without_modules",
]
