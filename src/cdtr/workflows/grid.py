"""A grid of trainings, for ``ablate`` and ``reproduce``: trained, calibrated, evaluated, resumed, and never mixed up.

A run is done once its evaluation is written. Runs that are done are kept, so that a stopped grid goes on when it is
started again; settings and data that differ from those of the runs that are there are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cdtr.config import Config
from cdtr.data.split import training_samples
from cdtr.errors import ConfigError, DataError, TrainingError
from cdtr.model.clip_folder import WEIGHTS_FILE
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder, write_atomic
from cdtr.training.start import find_start
from cdtr.workflows.cells import Cell, run_cells
from cdtr.workflows.opening import FULLSUP, HELD_OUT, find_test_split
from cdtr.workflows.reporting import Reporter

Names: TypeAlias = str | Sequence[str] | Sequence[int]  # a list, or a text with commas

RESULT_FILE = "evaluation.json"


@dataclass(frozen=True, slots=True)
class Grid:
    """The trainings that a table needs.

    Attributes:
        out: the folder of everything.
        clips: the small CLIPs, which are trained first.
        runs: the trainings, each with its calibration and evaluation.
        files: what describes the runs, by file; written before the first of them.
        notes: what the user is told before the first run.
    """

    out: Path
    clips: Sequence[Cell]
    runs: Sequence[Cell]
    files: Mapping[Path, str]
    notes: Sequence[str] = ()

    @property
    def cells(self) -> list[Cell]:
        """The small CLIPs, then the trainings."""
        return [*self.clips, *self.runs]

    def run(self, jobs: int | None, reporter: Reporter) -> Failures:
        """Run what is not done, ``jobs`` at a time; None takes one a GPU, or one a core without a GPU."""
        for line in self.notes:
            reporter.note(line)
        for path, text in self.files.items() if self.runs else ():
            write_atomic(path, text)
        failed: dict[str, str] = {}
        for what, cells in (("small CLIPs", self.clips), ("trainings", self.runs)):
            with reporter.progress(what, len(cells)) as advance:
                advance(sum(cell.is_done for cell in cells))

                def after(cell: Cell, reason: str | None) -> None:
                    reporter.note(f"{cell.name}: {reason or 'done'}")
                    advance(1)

                failed |= run_cells(cells, jobs, after)
            if failed:
                break  # without its CLIP a training would go on without SBA, and stand in the table all the same
        return Failures(failed, len(self.cells), self.out / "logs")


@dataclass(frozen=True, slots=True)
class Failures:
    """The runs of a grid that failed.

    Attributes:
        reasons: the last line of the log of each, by the name of the run.
        total: the number of runs of the grid.
        logs: the folder of the logs.
    """

    reasons: Mapping[str, str]
    total: int
    logs: Path

    def raise_first(self) -> None:
        """Raise TrainingError, which names the first of the failed runs, if there is one."""
        for name, reason in self.reasons.items():
            raise TrainingError(
                f"{len(self.reasons)} of {self.total} runs failed, {name} with: {reason} (whole logs in {self.logs}); "
                "call again to try them again"
            )


def clip_cell(name: str, data: Path, config: Path, seed: int, clip: Path, log: Path) -> Cell:
    """Return the training of a small CLIP on the labels of ``data``, written to the folder ``clip``."""
    command = ("train-clip", str(data), "--out", str(clip), "--config", str(config), "--set", f"seed={seed}")
    return Cell(name, (command,), log, clip / WEIGHTS_FILE)


def training_cell(
    name: str,
    data: Path,
    config: Path,
    seed: int,
    run: Path,
    log: Path,
    clip: Path | None = None,
    calibrate: Sequence[str] | None = (),
    evaluate: Sequence[str] = (),
) -> Cell:
    """Return the training, calibration and evaluation of one run.

    Args:
        name: the name of the run, for notes and errors.
        data: the data set.
        config: the file of its settings.
        seed: its seed.
        run: the run folder.
        log: the file of what the commands print.
        clip: the folder of a small CLIP, for ``sba.model``.
        calibrate: further options of `cdtr calibrate`; None for a run that is not calibrated.
        evaluate: further options of `cdtr evaluate`.
    """
    place, result = ("--data", str(data)), run / RESULT_FILE
    settings = ["--config", str(config), "--set", f"seed={seed}"]
    if clip is not None:
        settings += ["--set", f"sba.model={clip.resolve().as_posix()}"]
    commands = (
        ("train", str(data), "--out", str(run), "--resume", *settings),
        *([] if calibrate is None else [("calibrate", str(run), *place, *calibrate)]),
        ("evaluate", str(run), *place, *evaluate, "--json", str(result)),
    )
    return Cell(name, commands, log, result)


def choose_calibration(source: DataSource, configs: Sequence[Config], scored: str | None = None) -> str | None:
    """Return the split to choose thresholds on: ``train-fullsup`` where it has boxes, else images held out of training.

    Args:
        source: The data set, with boxes.
        configs: Of all trainings, at least one.
        scored: The split to evaluate; None for the test split.

    Returns:
        The split, or None where nothing is calibrated: every configuration holds out no image and sets a threshold.

    Raises:
        DataError: Before anything is trained, where there is nothing to score, or nothing with a box to choose on that
            is not scored.
    """
    if scored is None and not find_test_split(source):
        raise DataError(f"{source.root} has no split val or test to score: bring one")
    if scored == HELD_OUT and not all(config.data.holdout for config in configs):
        raise DataError(f"{source.root}: data.holdout = 0 leaves no {HELD_OUT} images to score: score another split")
    if all(config.data.holdout == 0 and config.evaluation.threshold is not None for config in configs):
        return None
    if scored != FULLSUP and _any_box(source, source.splits.get(FULLSUP, ())):
        return FULLSUP
    if scored == HELD_OUT:
        raise DataError(f"{source.root}: thresholds are chosen on {HELD_OUT} training images: score another split")
    if not all(config.data.holdout for config in configs):
        raise DataError(
            f"{source.root}: thresholds are chosen on {HELD_OUT} training images: set data.holdout above 0, or "
            "data.holdout=0 and evaluation.threshold for all runs"
        )
    if not _any_box(source, training_samples(source)):
        raise DataError(
            f"{source.root} has no box of a training image, on which a threshold could be chosen: bring some, or a "
            f"split {FULLSUP} with boxes"
        )
    return HELD_OUT


def calibrate_options(chosen: str | None) -> tuple[str, ...] | None:
    """Return the options of `cdtr calibrate` for a split; None where nothing is calibrated."""
    if chosen is None:
        return None
    return () if chosen == HELD_OUT else ("--split", chosen)


def calibration_note(chosen: str | None, configs: Iterable[Config]) -> str:
    """Return one line that says where thresholds come from."""
    if chosen is not None:
        return f"thresholds are chosen on {chosen} images"
    values = sorted({config.evaluation.threshold or 0.0 for config in configs})
    return f"nothing is calibrated, evaluation.threshold = {', '.join(f'{value:g}' for value in values)} is taken"


def check_starts(runs: Iterable[tuple[Path, Config]]) -> None:
    """Raise ConfigError for a run folder that started from other weights than its settings name now.

    A start that was pretrained again under its old name is a different one: new runs must not stand beside old ones.
    """
    hashes: dict[str, str | None] = {}
    for folder, config in runs:
        name = config.backbone.weights
        if name not in hashes:
            start = find_start(config)
            hashes[name] = None if start is None else start.sha256
        run = RunFolder(folder)
        before = run.known_manifest().get("started_from")
        if before and hashes[name] not in (None, before["sha256"]):
            raise ConfigError(
                f"{folder} started from another {name} than the one that is there now: choose another `out=`, or "
                f"remove {folder} to train and measure it anew"
            )


def split_names(text: str) -> list[str]:
    """Return the names of a text with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _any_box(source: DataSource, samples: Iterable[Sample]) -> bool:
    """Whether an image has a box. Raises the first DataError of an image where none has."""
    fault: DataError | None = None
    for sample in samples:
        try:
            annotation = source.annotate(sample)
        except DataError as error:
            fault = fault or error
            continue
        if annotation is not None and len(annotation.boxes_xyxy):
            return True
    if fault is not None:
        raise fault
    return False


def check_settled(files: Iterable[tuple[Path, str]], advice: str) -> None:
    """Raise ConfigError for a file that is there with another text.

    Runs that are done are not trained again, so they must not be listed under new settings.
    """
    for path, text in files:
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise ConfigError(f"{path} has other settings than {advice}")
