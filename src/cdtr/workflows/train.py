"""Train on images sorted by class and write a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import TextIOBase
from pathlib import Path

from rich.console import Console

from cdtr.config import Config, load_config, parse_config, recipe_label
from cdtr.data.empty_classes import suggestion
from cdtr.data.opening import open_data
from cdtr.data.split import training_samples
from cdtr.localization.quality import CLASS_SCORES
from cdtr.model.packaged import has_package
from cdtr.records import DataSource
from cdtr.reports.notebook import html_charts, html_table
from cdtr.runs import RunFolder
from cdtr.terminal import PlainConsole
from cdtr.training import loop
from cdtr.training.prepare import check_run_folder
from cdtr.workflows.calibrate import calibrate_after_training
from cdtr.workflows.opening import FULLSUP, HELD_OUT, DataLike, check_evaluation, process_state, report_reading
from cdtr.workflows.reporting import SILENT, Reporter

WITH_WEIGHTS, FROM_SCRATCH = "imagenet", "small"  # the default where the package of weights is installed, and elsewhere
_IMAGES_SEEN = 6_000  # by the default recipe, over all epochs
_MOST_EPOCHS = 60
_UNWRAPPED = 10_000  # columns of a console whose lines become notes


class Run(RunFolder):
    """A finished training: its folder, its classes and its last scores.

    Every function that takes a run folder takes it.

    Attributes:
        path: the run folder; ``class_names()``, ``config()`` and ``manifest()`` read its files.
        source: the data set that it was trained on.
    """

    def __init__(self, path: str | Path, source: DataSource) -> None:
        super().__init__(path)
        self.source = source

    @property
    def last_epoch(self) -> Mapping[str, float]:
        """Scores of the last epoch in percent, ``top1_cls`` and ``top5_cls``, on the images held out of training.

        Empty where none is held out. No box is looked at: ``cdtr.evaluate`` measures boxes.
        """
        epochs = self.log("epoch")
        found: Mapping[str, float] = (epochs[-1].get("held_out") or {}) if epochs else {}
        return found

    @property
    def calibration_split(self) -> str | None:
        """The images to choose a threshold on; None where the settings have one, or no image is at hand for it."""
        config = self.config()
        if config.data.holdout:
            return HELD_OUT
        has_threshold = config.evaluation.threshold is not None
        return FULLSUP if self.source.splits.get(FULLSUP) and not has_threshold else None

    def __repr__(self) -> str:
        """The folder, its recipe, the number of classes, and the scores of the last epoch."""
        scores = "".join(f", {name} {value:.1f}%" for name, value in self.last_epoch.items())
        return f"Run({self.path}: recipe {recipe_label(self.config())}, {len(self.class_names())} classes{scores})"

    def _repr_html_(self) -> str:
        from cdtr.reports.curves import training_charts  # matplotlib, which training does without

        images = [(f"images, {split}", str(len(samples))) for split, samples in self.source.splits.items()]
        scores = [(f"{name} (%)", f"{value:.1f}") for name, value in self.last_epoch.items()]
        facts = [
            ("recipe", recipe_label(self.config())),
            ("classes", str(len(self.class_names()))),
            ("data", str(self.source.root)),
            *images,
            *scores,
        ]
        return html_table(str(self.path), ["fact", "value"], facts) + html_charts(training_charts(self))


def train(
    data: DataLike,
    out: str | Path,
    config: str | Path | Config | None = None,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    reporter: Reporter = SILENT,
) -> Run:
    """Train on images sorted by class. Training sees images and class labels only, no boxes.

    Args:
        data: a folder with one folder of images a class, or the root of a data set, or one that is open already.
        out: the run folder to write.
        config: a preset, a YAML file or a configuration; None takes ``imagenet`` with epochs by the number of images,
            or ``small`` where the package of weights is not installed.
        overrides: settings over it, such as ``train.epochs=20``.
        resume: go on with a run that was stopped, with its own settings where none are given.
        reporter: takes notes, among them a line for each epoch.

    Returns:
        The run: folder, classes and the scores of the last epoch. It has a map threshold, from the maps of its held-out
        images alone, unless the settings have one.

    Raises:
        ConfigError: a setting is wrong, or something else is in the way of ``out``.
        DataError: the data set cannot be read.
        TrainingError: a loss term is no longer a number; the last saved state stays.

    Example:
        ``cdtr.train("photos", "runs/photos", overrides=["train.epochs=20"])``
    """
    out = Path(out)
    check_run_folder(RunFolder(out), resume)
    settings = choose_config(out, config, overrides, resume)
    check_evaluation(settings)
    source = open_for_training(data, settings, reporter)
    if config is None and not _goes_on(out, overrides, resume):
        settings = _fit_epochs(source, overrides, reporter)
    if is_main_process():
        report_reading(source, reporter)
        hint = None if settings.data.empty_classes else suggestion(source.class_names)
        if hint is not None:
            reporter.note(hint)
        if source.annotated:
            reporter.note("read: no boxes, as training needs none (`cdtr data check` reads them)")
    run = Run(loop.train(settings, source, out, resume, console_of(reporter)).path, source)
    warn_of_training(run, settings, reporter)
    settle_threshold(run, reporter)
    return run


def choose_config(
    out: Path,
    config: str | Path | Config | None,
    overrides: Sequence[str],
    resume: bool,
    default: str | None = None,
) -> Config:
    """Return the settings that were asked for.

    Args:
        out: the run folder; a run that is resumed without settings goes on with its own.
        config: a preset, a YAML file or a configuration.
        overrides: settings over it.
        resume: whether the run goes on.
        default: the preset to take where ``config`` is None; None takes that of ``default_preset``.

    Raises:
        ConfigError: a preset, key or value is unknown.
    """
    run = RunFolder(out)
    if config is None and _goes_on(out, overrides, resume):
        return parse_config(str(run.manifest("requested_config")["requested_config"]), str(run.manifest_file))
    if isinstance(config, Config):
        return load_config(None, overrides, config.model_dump(mode="json")) if overrides else config
    return load_config(config or default or default_preset(), overrides)


def default_preset() -> str:
    """Return the preset of a training that names none: the one with ImageNet weights, if their package is installed."""
    return WITH_WEIGHTS if has_package(load_config(WITH_WEIGHTS).backbone.cnn.name) else FROM_SCRATCH


def _goes_on(out: Path, overrides: Sequence[str], resume: bool) -> bool:
    """Whether a run is resumed with its own settings."""
    return resume and not overrides and RunFolder(out).manifest_file.is_file()


def _fit_epochs(source: DataSource, overrides: Sequence[str], reporter: Reporter) -> Config:
    """Say which recipe was taken and why, and give it as many epochs as the number of images needs."""
    if default_preset() != WITH_WEIGHTS:
        if is_main_process():
            reporter.note(
                f"no `config=`: taking the preset {FROM_SCRATCH}, from random weights: the package of weights of the "
                f"preset {WITH_WEIGHTS} is not installed"
            )
        return load_config(FROM_SCRATCH, overrides)
    count = len(training_samples(source))
    epochs = epochs_for(count, _IMAGES_SEEN)
    config = load_config(WITH_WEIGHTS, overrides, {"train": {"epochs": epochs}})
    if is_main_process():
        epochs = config.train.epochs
        reporter.note(
            f"no `config=`: taking the preset {WITH_WEIGHTS}, {epochs} {'epoch' if epochs == 1 else 'epochs'} for "
            f"{count} images; `cdtr priors` shows what it learns from"
        )
    return config


def epochs_for(images: int, seen: int) -> int:
    """Return the epochs, from 1 to 60, in which about ``seen`` images are seen, of so many training images."""
    return min(_MOST_EPOCHS, max(1, round(seen / max(1, images))))


def open_for_training(data: DataLike, config: Config, reporter: Reporter) -> DataSource:
    """Return the data set, opened with these settings unless it is open already; the main process reports."""
    if isinstance(data, DataSource):
        return data
    return open_data(Path(data), config.data, reporter.note if is_main_process() else SILENT.note)


def is_main_process() -> bool:
    """Whether this is the process that reports, of several that torchrun or accelerate started."""
    return os.environ.get("RANK", "0") == "0"


def console_of(reporter: Reporter) -> Console:
    """Return the console of a reporter that has one, as the terminal has; else one whose lines become its notes."""
    return _own_console(reporter) or PlainConsole(
        file=_Notes(reporter), width=_UNWRAPPED, force_terminal=False, force_jupyter=False
    )


def warn_of_training(run: RunFolder, asked: Config, reporter: Reporter) -> None:
    """Warn of training images that were left out, and of SBA that was asked for and is off.

    A reporter with a console has shown both already: training prints there, and elsewhere its lines are notes.
    """
    if _own_console(reporter) is not None or not is_main_process():
        return
    manifest = run.manifest()
    broken = manifest.get("broken_images") or {}
    if broken:
        image_id, reason = next(iter(broken.items()))
        reporter.warn(f"left out {len(broken)} training images that cannot be read, such as {image_id}: {reason}")
    if asked.sba.enabled and not run.config().sba.enabled:
        why = "CLIP fits these images too badly" if manifest.get("clip_fit") else "there is no CLIP that is fast here"
        reporter.warn(f"SBA is off: {why}; `cdtr train-clip` makes a small one for sba.model")


def settle_threshold(run: Run, reporter: Reporter) -> None:
    """Give a run that was just trained a threshold from its maps alone, unless it has one, and report it.

    Of several processes the main one does it, and the others wait for the file.
    """
    try:
        if is_main_process():
            found = calibrate_after_training(run, run.source, reporter)
            if found is not None:
                images = f"{found.calibration.n_images} {found.chosen_on}"
                reporter.note(f"threshold {found.threshold:.3g}, label-free, from the maps of {images} alone")
                reporter.note(CLASS_SCORES)
    finally:  # the others do not wait for a process that failed
        process_state().wait_for_everyone()


def _own_console(reporter: Reporter) -> Console | None:
    console = getattr(reporter, "console", None)
    return console if isinstance(console, Console) else None


class _Notes(TextIOBase):
    """A text file whose lines go to a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter, self._begun = reporter, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._reporter.note(line)
        return len(text)
