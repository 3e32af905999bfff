"""Pretrain a transformer by distillation from an ImageNet CNN, where no pretrained one is available."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdtr.config import Config
from cdtr.model.hub_weights import hub_line
from cdtr.runs import RunFolder
from cdtr.training import pretrain as training
from cdtr.training.prepare import check_run_folder
from cdtr.training.pretrain import BACKBONE_FILE
from cdtr.workflows.opening import DataLike
from cdtr.workflows.reporting import SILENT, Reporter
from cdtr.workflows.train import Run, choose_config, console_of, is_main_process, open_for_training, warn_of_training

DEFAULT_PRESET = "pretrain-small"


class PretrainedRun(Run):
    """A finished pretraining: a run whose folder holds the transformer as well.

    Attributes:
        backbone: the file of the transformer's weights, for the setting ``backbone.weights``.
    """

    @property
    def backbone(self) -> Path:
        """The file of the transformer's weights, for the setting ``backbone.weights``."""
        return self.path / BACKBONE_FILE


def pretrain(
    data: DataLike,
    out: str | Path,
    config: str | Path | Config | None = None,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    reporter: Reporter = SILENT,
) -> PretrainedRun:
    """Train the student, a small transformer, on the labels and on the features of a teacher CNN.

    Args:
        data: a folder with one folder of images a class, or the root of a data set, or one that is open already.
        out: the run folder to write.
        config: a preset, a YAML file or a configuration; None takes the preset ``pretrain-small``.
        overrides: settings over it, such as ``train.epochs=20``.
        resume: go on with a run that was stopped, with its own settings where none are given.
        reporter: takes notes, among them a line for each epoch.

    Returns:
        The run, with the file of the transformer's weights.

    Raises:
        ConfigError: a setting is wrong, the teacher's package is missing, or something is in the way of ``out``.
        DataError: the data set cannot be read.

    Example:
        ``cdtr.pretrain("photos", "runs/start").backbone``
    """
    check_run_folder(RunFolder(out), resume)
    settings = choose_config(Path(out), config, overrides, resume, DEFAULT_PRESET)
    source = open_for_training(data, settings, reporter)
    fetched = hub_line(settings.pretrain.teacher) if settings.pretrain.teacher_weights == "hub" else ""
    if fetched and is_main_process():
        reporter.note(fetched)
    run = training.pretrain(settings, source, Path(out), resume, console_of(reporter))
    warn_of_training(run, settings, reporter)
    return PretrainedRun(run.path, source)
