"""Pretraining of a transformer that other trainings start from: distillation of a teacher CNN, and the labels."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from safetensors.torch import load_file, save

from cdtr.config import Config, without_modules
from cdtr.errors import ConfigError
from cdtr.model.notes import with_notes
from cdtr.model.teacher import load_teacher
from cdtr.records import DataSource
from cdtr.runs import RunFolder, write_atomic
from cdtr.training.loop import train

BACKBONE_FILE = "backbone.safetensors"
_BACKBONE = "backbone.vit."  # before the names of the transformer's tensors in a run's weights


def pretrain_config(config: Config) -> Config:
    """Return the configuration with the method TS-CAM and every module off; backbone, data and training stay."""
    return without_modules(config).updated(method="tscam")


def pretrain(
    config: Config, source: DataSource, out: Path, resume: bool = False, console: Console | None = None
) -> RunFolder:
    """Train the transformer of ``config.backbone`` and write a run folder with ``BACKBONE_FILE`` in it.

    Only the train split is used. The run itself is one of TS-CAM, which can be evaluated. Arguments and errors are
    those of ``loop.train``.

    Raises:
        ConfigError: the package of the teacher is not installed, or the student is frozen.
    """
    if config.backbone.frozen:
        raise ConfigError("backbone.frozen true: pretraining teaches the transformer, set backbone.frozen=false")
    config = pretrain_config(config)
    run = train(config, source, out, resume, console, load_teacher(config.pretrain, config.data))
    if run.weights.is_file():
        write_backbone(run)
    return run


def write_backbone(run: RunFolder) -> None:
    """Write the run's transformer under timm's names, for ``backbone.weights``, with notes on its training."""
    tensors = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in load_file(run.weights).items()
        if name.startswith(_BACKBONE)
    }
    write_atomic(run.path / BACKBONE_FILE, save(tensors, metadata=with_notes(_notes(run))))


def _notes(run: RunFolder) -> dict[str, str]:
    config, manifest = run.config(), run.manifest("data.format", "splits.fit.sha256")
    distillation, images = config.pretrain, manifest["splits"]["fit"]["images"]
    has_teacher = distillation.token_weight or distillation.patch_weight
    return {
        "pretrained_on": f"{manifest['data']['format']} ({images} images, {config.train.epochs} epochs"
        + (f", teacher {distillation.teacher})" if has_teacher else ")"),
        "input_size": "x".join(map(str, config.data.input_size)),
        "images_sha256": manifest["splits"]["fit"]["sha256"],
        "backbone": config.backbone.model_dump_json(include={"name", "stem", "overrides"}),
        "git_revision": manifest.get("git_revision") or "",
    }
