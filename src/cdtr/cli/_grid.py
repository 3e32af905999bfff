"""What `cdtr ablate` and `cdtr reproduce` share: trainings as cells that are measured, resumed, and never mixed up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cdtr.cli._cells import Cell, run_cells
from cdtr.cli._shared import note, progress_bar
from cdtr.config import Config
from cdtr.data.split import training_samples
from cdtr.errors import ConfigError, DataError, TrainingError
from cdtr.model.clip_folder import WEIGHTS_FILE
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder
from cdtr.training.start import find_start
from cdtr.workflows.opening import HELD_OUT, find_test_split

RESULT_FILE = "evaluation.json"
FULLSUP = "train-fullsup"  # the split on which the WSOL benchmark chooses its thresholds


def clip_cell(name: str, data: Path, config: Path, seed: int, clip: Path, log: Path) -> Cell:
    """A small CLIP that learns the labels of ``data``, to be written to the folder ``clip``."""
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
    """Train, calibrate and evaluate one run. clip: for ``sba.model``. calibrate, evaluate: more options of theirs;
    None for a run that is not calibrated."""
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
    """The images to choose thresholds on: ``train-fullsup`` where it has boxes, else those held out of training.

    Args:
        source: The data set, with boxes.
        configs: Of all trainings, at least one.
        scored: The split to evaluate; None for the test split.

    Returns:
        The split, or None where every configuration holds out no image and has a threshold of its own: nothing is
        calibrated then.

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
    """Of `cdtr calibrate`, to choose on these images; None where nothing is calibrated."""
    if chosen is None:
        return None
    return () if chosen == HELD_OUT else ("--split", chosen)


def calibration_note(chosen: str | None, configs: Iterable[Config]) -> str:
    """Where thresholds come from, in a line."""
    if chosen is not None:
        return f"thresholds are chosen on {chosen} images"
    values = sorted({config.evaluation.threshold or 0.0 for config in configs})
    return f"nothing is calibrated, evaluation.threshold = {', '.join(f'{value:g}' for value in values)} is taken"


def check_starts(runs: Iterable[tuple[Path, Config]]) -> None:
    """ConfigError where a run folder that is there already started from another file than its settings name now.

    A start that was pretrained anew under its old name is another one, and its runs do not belong beside the old ones.
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
                f"{folder} started from another {name} than the one that is there now: choose another --out, or remove "
                f"{folder} to train and measure it anew"
            )


def _any_box(source: DataSource, samples: Iterable[Sample]) -> bool:
    """Whether an image has a box; where none has, a DataError of one of them is the reason."""
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


def run_grid(clips: Sequence[Cell], runs: Sequence[Cell], jobs: int | None) -> dict[str, str]:
    """Run what is not done, the small CLIPs first; the names and last lines of what failed."""
    failed: dict[str, str] = {}
    for what, cells in (("small CLIPs", clips), ("trainings", runs)):
        with progress_bar(what, len(cells)) as move:
            move(sum(cell.done.is_file() for cell in cells))

            def after(cell: Cell, reason: str | None) -> None:
                note(f"{cell.name}: {reason or 'done'}")
                move(1)

            failed |= run_cells(cells, jobs, after)
        if failed:
            break  # without its CLIP a training would go on without SBA, and stand in the table all the same
    return failed


def fail_if_any(failed: Mapping[str, str], total: int, logs: Path) -> None:
    """TrainingError that names the first of the failed runs."""
    if failed:
        first = next(iter(failed))
        raise TrainingError(
            f"{len(failed)} of {total} runs failed, {first} with: {failed[first]} (whole logs in {logs}); call again "
            "to try them again"
        )


def check_settled(files: Iterable[tuple[Path, str]], advice: str) -> None:
    """ConfigError where a file says something else already.

    Runs that are done are not trained again, so they must not come under new settings.
    """
    for path, text in files:
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise ConfigError(f"{path} has other settings than {advice}")
