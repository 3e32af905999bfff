"""Commands of cdtr run in parallel, each in its own process with a share of the cores or a GPU."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from cdtr.cores import core_count

_running: set[subprocess.Popen[bytes]] = set()


@dataclass(frozen=True, slots=True)
class Cell:
    """Commands that run one after the other.

    Attributes:
        name: for notes and errors.
        commands: the arguments of each command, without the program's name.
        log: the file of what they print.
        done: the file that exists once all of them have succeeded; such a cell is not run again.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    log: Path
    done: Path

    @property
    def is_done(self) -> bool:
        """Whether all commands have succeeded."""
        return self.done.is_file()

    def run(self, environment: dict[str, str]) -> str | None:
        """Run the commands; return None, or the last line of the log of a command that failed."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            for command in self.commands:
                process = subprocess.Popen(
                    [sys.executable, "-m", "cdtr", *command],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env=environment,
                )
                _running.add(process)
                try:
                    process.wait()
                finally:
                    _running.discard(process)
                if process.returncode:
                    lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                    return lines[-1] if lines else f"exit code {process.returncode}"
        return None


def run_cells(cells: Sequence[Cell], jobs: int | None, after: Callable[[Cell, str | None], None]) -> dict[str, str]:
    """Run the cells that are not done. A failed cell does not stop the others.

    Args:
        cells: all cells.
        jobs: how many run at a time; None takes one a GPU, or one a core without a GPU.
        after: called with each cell that has ended, and the reason if it failed.

    Returns:
        The last line of the log of each cell that failed, by name.
    """
    gpus, cores = torch.cuda.device_count(), core_count()
    waiting = [cell for cell in cells if not cell.is_done]
    count = job_count(jobs, len(waiting))
    places: queue.Queue[int] = queue.Queue()
    for place in range(count):
        places.put(place)

    def work(cell: Cell) -> str | None:
        place = places.get()
        try:
            return cell.run(_environment(place, gpus, max(cores // count, 1)))
        finally:
            places.put(place)

    failed: dict[str, str] = {}
    with ThreadPoolExecutor(count) as pool:
        running = {pool.submit(work, cell): cell for cell in waiting}
        try:
            for done in as_completed(running):
                cell, reason = running[done], done.result()
                if reason is not None:
                    failed[cell.name] = reason
                after(cell, reason)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, SystemExit):  # SIGTERM came to this process alone; Ctrl-C is heard by all
                for process in tuple(_running):
                    process.terminate()
            raise
    return failed


def job_count(jobs: int | None, waiting: int) -> int:
    """Return how many of ``waiting`` cells run at a time."""
    return max(min(jobs or torch.cuda.device_count() or core_count(), waiting), 1)


def _environment(place: int, gpus: int, threads: int) -> dict[str, str]:
    chosen = {"OMP_NUM_THREADS": str(threads)}
    if gpus:
        visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
        chosen["CUDA_VISIBLE_DEVICES"] = (visible or [str(gpu) for gpu in range(gpus)])[place % gpus]
    return {**os.environ, **chosen}
