"""YAML and overrides to one checked tree of settings; the only reader of YAML.

Settings are layered: the defaults below (the paper's, on CUB), then the bundle of ``fidelity``, then the chain of
presets or files that extend each other, then ``--set`` overrides. Unknown keys are refused. The numbered rows of
``docs/fidelity.md`` are the switches whose comments name them here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cdtr.errors import ConfigError

Size = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A part of the tree: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class DataConfig(Section):
    format: str = "auto"  # a file name of cdtr.data.datasets, or auto
    input_size: Size = (224, 224)  # height, width that the model sees
    resize: Size = (256, 256)  # before the random crop of training
    augment: Literal["none", "crop_flip", "resized_crop", "official"] = "crop_flip"  # row 13
    repeats: int = Field(1, ge=1)  # each image so many times an epoch (row 13)
    holdout: float = Field(0.1, ge=0, lt=1)  # share of the training images kept for validation and calibration
    workers: int = Field(2, ge=0)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    max_pixels: int = Field(100_000_000, ge=1)  # larger images are reported and skipped


class BackboneConfig(Section):
    name: str = "deit_small_patch16_224"
    weights: str = "hub"  # hub, none, or a .pth or .safetensors file
    stem: Literal["patch", "conv"] = "patch"
    overrides: dict[str, Any] = Field(default_factory=dict)  # embed_dim, depth, num_heads, patch_size, ...
    drop_path: float = Field(0.0, ge=0, lt=1)
    attention_reduce: Literal["mean", "sum_heads"] = "mean"  # row 3


class CsmConfig(Section):
    enabled: bool | None = None  # None: as the method says
    g: int = Field(8, ge=1)  # G of the paper
    width_factor: int = Field(2, ge=1)  # row 6: the encoder has width_factor * G channels
    norm: bool = True  # row 6
    upsample: Literal["size", "factor2"] = "size"  # row 17


class OcmConfig(Section):
    enabled: bool | None = None
    p: float = Field(0.25, ge=0, le=1)  # share of the patches that count as clutter
    k: int = Field(9, ge=1)  # blocks that make the pseudo map
    blocks: Literal["first", "last"] = "first"  # row 7
    norm: bool = True  # row 7
    suppress: Literal["scaled", "literal", "official"] = "scaled"  # row 4
    awaken: Literal["scaled", "literal", "official"] = "scaled"  # row 5
    awaken_gradient: Literal["both", "to_attention", "to_pseudo_map"] = "both"


class SkiConfig(Section):
    enabled: bool | None = None
    offsets_from: Literal["csm", "out"] = "csm"  # row 2


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
    weight: float = Field(1.0, ge=0)  # of the two alignment terms
    width: int = Field(128, ge=32)  # channels


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
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = Field(5.0, ge=0)
    warmup_lr: float = Field(1e-6, ge=0)
    min_lr: float = Field(1e-6, ge=0)
    clip_norm: float | None = Field(5.0, gt=0)
    precision: Literal["no", "bf16", "fp16"] = "no"
    ema_decay: float | None = Field(None, gt=0, lt=1)
    save_every_steps: int | None = Field(None, ge=1)  # besides the end of each epoch

    @field_validator("precision", mode="before")
    @classmethod
    def _no_is_a_word(cls, precision: object) -> object:
        """YAML 1.1 reads a bare ``no`` as false."""
        return "no" if precision is False else precision


class EvaluationConfig(Section):
    protocol: str = "wsol"  # row 14
    threshold: float | None = Field(None, ge=0, lt=1)  # row 15: None asks for a calibration
    batch_size: int = Field(64, ge=1)


class Config(Section):
    """Everything a run depends on, resolved."""

    method: str = "cdtr"
    fidelity: Literal["paper", "official"] = "paper"
    seed: int = Field(0, ge=0)
    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    csm: CsmConfig = CsmConfig()
    ocm: OcmConfig = OcmConfig()
    ski: SkiConfig = SkiConfig()
    sba: SbaConfig = SbaConfig()
    guide: GuideConfig = GuideConfig()
    weighting: WeightingConfig = WeightingConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def updated(self, **changes: Any) -> Config:
        """A checked copy with nested changes, ``updated(sba={"enabled": False})``."""
        return _checked(_merge(self.model_dump(mode="json"), changes), "config")

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def preset_names() -> list[str]:
    names = (entry.name for entry in files("cdtr.presets").iterdir())
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("_"))


def load_config(source: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a preset name or a YAML file, apply ``a.b=c`` overrides, and check the result.

    Raises ConfigError for an unknown preset, key or value, naming the nearest known one.
    """
    tree = _read_chain(str(source), ()) if source is not None else {}
    for override in overrides:
        tree = _merge(tree, _parse_override(override))
    if tree.get("fidelity") == "official":
        tree = _merge(_read_preset("_official"), tree)
    return _checked(tree, str(source or "overrides"))


def parse_config(text: str, origin: str) -> Config:
    """Check a resolved configuration, as a run folder holds it."""
    return _checked(_parse_yaml(text, origin), origin)


def _read_chain(source: str, seen: tuple[str, ...], folder: Path | None = None) -> dict[str, Any]:
    path = Path(source) if folder is None or Path(source).is_absolute() else folder / source
    # Two files may have one relative name, and one file two: only the whole path tells them apart.
    identity = str(path.resolve()) if path.suffix in {".yaml", ".yml"} else source
    if identity in seen:
        raise ConfigError(f"presets extend each other in a circle: {' -> '.join((*seen, identity))}")
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise ConfigError(
                f"no configuration file {path}: give a YAML file or one of the presets {', '.join(preset_names())}"
            )
        tree = _parse_yaml(_read_text(path), str(path))
    else:
        tree = _read_preset(source)
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    return _merge(_read_chain(str(parent), (*seen, identity), path.parent), tree)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start}): expected YAML text, save it as UTF-8") from error


def _read_preset(name: str) -> dict[str, Any]:
    entry = files("cdtr.presets").joinpath(f"{name}.yaml")
    if not entry.is_file():
        raise ConfigError(
            f"unknown preset {name!r}{_nearest(name, preset_names())}; choose one of {', '.join(preset_names())}, "
            "or give a .yaml file"
        )
    return _parse_yaml(entry.read_text(encoding="utf-8"), f"preset {name}")


def _parse_yaml(text: str, origin: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin} is not YAML: {' '.join(str(error).split())}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin} holds a {type(tree).__name__}, expected keys and values such as 'method: cdtr'")
    return tree


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: expected key=value, such as train.epochs=20")
    try:
        tree: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not YAML: {' '.join(str(error).split())}") from error
    if isinstance(tree, str):
        tree = _as_number(tree)
    for part in reversed(key.strip().split(".")):
        tree = {part: tree}
    return dict(tree)


def _as_number(text: str) -> str | float:
    """YAML 1.1 reads 5e-4 as a string; people mean the number."""
    try:
        return float(text)
    except ValueError:
        return text


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _checked(tree: Mapping[str, Any], origin: str) -> Config:
    _refuse_unknown(tree, Config, origin, ())
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{origin}: {where} = {first['input']!r}: {first['msg']}") from error


def _refuse_unknown(tree: Mapping[str, Any], section: type[BaseModel], origin: str, path: tuple[str, ...]) -> None:
    for key, value in tree.items():
        here = ".".join((*path, str(key)))
        if key not in section.model_fields:
            known = [".".join((*path, name)) for name in section.model_fields]
            raise ConfigError(f"{origin}: unknown key {here!r}{_nearest(here, known)}; known here: {', '.join(known)}")
        kind = section.model_fields[key].annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            if not isinstance(value, Mapping):
                example = f"{here}.{next(iter(kind.model_fields))}"
                raise ConfigError(f"{origin}: {here} = {value!r}: expected keys below it, such as {example}")
            _refuse_unknown(value, kind, origin, (*path, str(key)))


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
