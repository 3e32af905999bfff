"""The log of a training: metrics.jsonl, TensorBoard, and a progress bar or plain lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from cdtr.runs import RunFolder
from cdtr.text import duration

_INVERTED = (
    "warning: the attention is inverted (correlation with the label's class map {:.2f}): boxes may lie around the "
    "objects. Look at the overlays; docs/training.md says what helps"
)
_DIAGNOSTIC = "diagnostic:"  # before the names of diagnostics among the sums of an epoch
Say = Callable[[str], None]


def add_step(
    sums: Mapping[str, float], terms: Mapping[str, float], diagnostics: Mapping[str, float]
) -> dict[str, float]:
    """Return the sums of an epoch with the loss terms and diagnostics of one more step; ``epoch_means`` reads them."""
    found = {**terms, **{_DIAGNOSTIC + name: value for name, value in diagnostics.items()}}
    return {name: sums.get(name, 0.0) + value for name, value in found.items()}


def epoch_means(sums: Mapping[str, float], steps: int) -> dict[str, Mapping[str, float] | float]:
    """Return the means over the steps of an epoch, as ``terms`` and, where there are any, ``diagnostics``."""
    means = {name: value / max(steps, 1) for name, value in sums.items()}
    terms = {name: value for name, value in means.items() if not name.startswith(_DIAGNOSTIC)}
    diagnostics = {name.removeprefix(_DIAGNOSTIC): value for name, value in means.items() if name not in terms}
    return {"terms": terms, **({"diagnostics": diagnostics} if diagnostics else {})}


class TimeLeft:
    """How long some work will still take, at the pace that it has had.

    Args:
        total: the steps of the whole work.
        done: those that were done before.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self._total, self._first, self._started = total, done, time.monotonic()

    def after(self, done: int) -> str:
        """Return the time left after so many steps, as ``12 min left``; empty at the end and before the first step."""
        passed, left = done - self._first, self._total - done
        if passed <= 0 or left <= 0:
            return ""
        return f"{duration((time.monotonic() - self._started) / passed * left)} left"


class TrainingLog:
    """Writes the log, from the main process only; other processes have a log that is switched off.

    Args:
        run: the run folder.
        total_steps: the steps of the whole training.
        start_step: the step that it starts or resumes from; later records of a killed run are dropped.
        active: whether this is the main process.
        console: where progress is shown.
    """

    def __init__(self, run: RunFolder, total_steps: int, start_step: int, active: bool, console: Console) -> None:
        self._run = run
        self._active = active
        self._console = console
        self._progress: Progress | None = None
        if not active:
            return
        run.drop_log_after(start_step)
        self._left = TimeLeft(total_steps, start_step)
        self._board = SummaryWriter(str(run.path / "tensorboard"), purge_step=start_step)
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[terms]}"),
                console=console,
            )
            self._task = self._progress.add_task("", total=total_steps, completed=start_step, epoch=0, terms="")

    def __enter__(self) -> TrainingLog:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
        if self._active:
            self._board.close()

    def show(self, step: int, epoch: int, terms: Mapping[str, float]) -> None:
        """Move the progress bar."""
        if self._progress is not None:
            self._progress.update(self._task, completed=step, epoch=epoch + 1, terms=_loss(terms))

    def step(self, step: int, epoch: int, values: Mapping[str, Mapping[str, float] | float]) -> None:
        """Write the values of a step."""
        self._write({"kind": "step", "step": step, "epoch": epoch, **values})

    def epoch(self, step: int, epoch: int, epochs: int, values: Mapping[str, Mapping[str, float] | float]) -> None:
        """Write the values of an epoch, and print the main ones and the time left on a line of up to 100 columns."""
        self._write({"kind": "epoch", "step": step, "epoch": epoch, **values})
        if self._active:
            top1, likeness = _part(values, "held_out", "top1_cls"), _part(values, "attention", "class_map")
            parts = [_loss(values["terms"])]
            parts += [f"held-out Top-1 {top1:.1f}"] if top1 is not None else []
            parts += [f"attention like class map {likeness:.2f}"] if likeness is not None else []
            parts += [left] if (left := self._left.after(step)) else []
            self._console.print(f"epoch {epoch + 1}/{epochs}  " + "  ".join(parts), highlight=False, soft_wrap=True)
            # The end of the training has a line of its own (final_checks).
            if likeness is not None and likeness < 0 and epochs <= 2 * (epoch + 1) < 2 * epochs:
                self._console.print(_INVERTED.format(likeness), highlight=False, soft_wrap=True)

    def _write(self, record: dict[str, Any]) -> None:
        if not self._active:
            return
        with self._run.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if isinstance(value, Mapping):
                for part, number in value.items():
                    self._scalar(f"{record['kind']}/{name}/{part}", number, record["step"])
            elif isinstance(value, float):
                self._scalar(f"{record['kind']}/{name}", value, record["step"])

    def _scalar(self, name: str, value: float, step: int) -> None:
        self._board.add_scalar(name, value, step)


def _loss(terms: Mapping[str, float] | float) -> str:
    """The weighted sum of the loss terms; metrics.jsonl and TensorBoard have each term."""
    return f"loss {terms['total']:.3f}" if isinstance(terms, Mapping) else ""


def _part(values: Mapping[str, Mapping[str, float] | float], group: str, name: str) -> float | None:
    found = values.get(group)
    return found.get(name) if isinstance(found, Mapping) else None
