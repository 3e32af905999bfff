"""The log of a training: metrics.jsonl, TensorBoard, and a progress bar or plain lines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from cdtr.runs import RunFolder

_INVERTED = (
    "warning: the attention is inverted (correlation with the label's class map {:.2f}): boxes may lie around the "
    "objects. Look at the overlays; docs/training.md says what helps"
)
Say = Callable[[str], None]


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

    def show(self, step: int, epoch: int, terms: Mapping[str, float], lambdas: Mapping[str, float]) -> None:
        """Move the progress bar."""
        if self._progress is not None:
            text = " ".join(f"{name} {value:.3f}" for name, value in terms.items())
            if lambdas:
                text += f"  {_named(lambdas)}"
            self._progress.update(self._task, completed=step, epoch=epoch + 1, terms=text)

    def step(self, step: int, epoch: int, values: Mapping[str, Mapping[str, float] | float]) -> None:
        """Write the values of a step."""
        self._write({"kind": "step", "step": step, "epoch": epoch, **values})

    def epoch(self, step: int, epoch: int, epochs: int, values: Mapping[str, Mapping[str, float] | float]) -> None:
        """Write the values of an epoch, and print them on one line."""
        self._write({"kind": "epoch", "step": step, "epoch": epoch, **values})
        if self._active:
            terms, lambdas, held_out = values["terms"], values.get("lambdas", {}), values.get("held_out", {})
            parts = [f"{n} {v:.3f}" for n, v in terms.items()] if isinstance(terms, Mapping) else []
            parts += [_named(lambdas)] if isinstance(lambdas, Mapping) and lambdas else []
            parts += [f"held-out {n} {v:.1f}" for n, v in held_out.items()] if isinstance(held_out, Mapping) else []
            attention = values.get("attention", {})
            likeness = attention.get("class_map") if isinstance(attention, Mapping) else None
            parts += [f"attention like class map {likeness:.2f}"] if likeness is not None else []
            diagnostics = values.get("diagnostics", {})
            parts += [f"{n} {v:.3g}" for n, v in diagnostics.items()] if isinstance(diagnostics, Mapping) else []
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


def _named(lambdas: Mapping[str, float]) -> str:
    return "λ " + " ".join(f"{name} {value:.2f}" for name, value in lambdas.items())
