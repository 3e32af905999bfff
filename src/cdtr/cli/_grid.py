"""What `cdtr ablate` and `cdtr reproduce` share: trainings as cells that are measured, resumed, and never mixed up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cdtr.cli._cells import Cell, run_cells
from cdtr.cli._shared import HELD_OUT, has_test_split, note, progress_bar
from cdtr.config import Config
from cdtr.data.split import training_samples
from cdtr.errors import ConfigError, DataError, TrainingError
from cdtr.records import DataSource, Sample
from cdtr.training.clip import WEIGHTS_FILE
from cdtr.training.start import find_start

RESULT_FILE = "evaluation.json"
FULLSUP = "train-fullsup"  # the split on which the WSOL benchmark chooses its thresholds
_LOOKED_AT = 1000  # training images, for one with a box


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
    calibrate: Sequence[str] = (),
    evaluate: Sequence[str] = (),
) -> Cell:
    """Train, calibrate and evaluate one run. clip: for ``sba.model``. calibrate, evaluate: more options of theirs."""
    place, result = ("--data", str(data)), run / RESULT_FILE
    settings = ["--config", str(config), "--set", f"seed={seed}"]
    if clip is not None:
        settings += ["--set", f"sba.model={clip.resolve().as_posix()}"]
    commands = (
        ("train", str(data), "--out", str(run), "--resume", *settings),
        ("calibrate", str(run), *place, *calibrate),
        ("evaluate", str(run), *place, *evaluate, "--json", str(result)),
    )
    return Cell(name, commands, log, result)


def choose_calibration(source: DataSource, configs: Iterable[Config], scored: str | None = None) -> str:
    """The images to choose thresholds on: ``train-fullsup`` where the data has it, else those held out of training.

    scored: the split to evaluate, None for the test split. DataError, before anything is trained, where that split
    would be the same, where there is none, or where no image to choose on has a box.
    """
    chosen = FULLSUP if source.splits.get(FULLSUP) else HELD_OUT
    if scored == chosen or (scored is None and not has_test_split(source)):
        raise DataError(
            f"{source.root}: thresholds are chosen on {chosen} images, and no other is left to score: bring a split "
            "val or test"
        )
    if chosen == HELD_OUT and not all(config.data.holdout for config in configs):
        raise DataError(
            f"{source.root} has no split {FULLSUP}, so thresholds are chosen on held-out training images: set "
            "data.holdout above 0"
        )
    samples = source.splits[FULLSUP] if chosen == FULLSUP else training_samples(source)
    if not any(_has_box(source, sample) for sample in samples[:: -(-len(samples) // _LOOKED_AT)]):
        raise DataError(
            f"{source.root} has no box of a training image and no split {FULLSUP}: bring boxes of either, on which "
            "thresholds can be chosen"
        )
    return chosen


def calibrate_options(chosen: str) -> tuple[str, ...]:
    """Of `cdtr calibrate`, to choose on these images."""
    return () if chosen == HELD_OUT else ("--split", chosen)


def start_hash(config: Config) -> str | None:
    """A hash of the file that a run starts from; None for other starts."""
    start = find_start(config)
    return None if start is None else start.sha256


def _has_box(source: DataSource, sample: Sample) -> bool:
    try:
        annotation = source.annotate(sample)
    except DataError:  # of one image; data check and the calibration say so
        return False
    return annotation is not None and len(annotation.boxes_xyxy) > 0


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
