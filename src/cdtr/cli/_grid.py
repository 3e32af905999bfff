"""What `cdtr ablate` and `cdtr reproduce` share: trainings as cells that are measured, resumed, and never mixed up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cdtr.cli._cells import Cell, run_cells
from cdtr.cli._shared import note, progress_bar
from cdtr.errors import ConfigError, TrainingError
from cdtr.training.clip import WEIGHTS_FILE

RESULT_FILE = "evaluation.json"


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
