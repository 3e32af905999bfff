"""What several commands need: a run with the data it was trained on, the held-out images, a progress bar."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cdtr.cli._output import is_quiet
from cdtr.errors import DataError
from cdtr.records import DataSource, Sample
from cdtr.terminal import PlainConsole
from cdtr.text import printable

if TYPE_CHECKING:  # exported models are run where PyTorch is not installed
    pass

LOCALIZE_REST = " IMAGES --out boxes --format coco,csv"


def tell_reading(source: DataSource) -> None:
    """The lines of ``reading_lines``, and a warning of each problem that came up since the set was opened."""
    from cdtr.workflows.opening import reading_lines

    for account in source.accounts:
        account.warn()
    for line in reading_lines(source):
        note(line)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, one plain line elsewhere; yields a function that moves it on."""
    console = progress_console()
    if console.quiet or not console.is_terminal:
        note(f"{what}: {total}")
        yield lambda _count: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=32), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


def progress_console() -> PlainConsole:
    """Where progress is shown; with --quiet it shows nothing."""
    return PlainConsole(stderr=True, quiet=is_quiet())


def note(message: str) -> None:
    """A line beside the results; with --quiet warnings alone."""
    if not is_quiet() or message.startswith("warning:"):
        print(printable(message), file=sys.stderr)


class Terminal:
    """Reports a workflow to the terminal: notes as lines, progress as a bar."""

    def note(self, message: str) -> None:
        note(message)

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        return progress_bar(what, total)


TERMINAL = Terminal()


def report_broken(sample: Sample, reason: str) -> None:
    note(f"left out {sample.image_id}: {reason}")


def require_folder(out: Path, option: str = "--out") -> None:
    """DataError if something that is no folder is in the way."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: choose a folder as {option}")


def require_outputs(json_file: Path | None, figures: Path | None = None) -> None:
    """DataError if --json is a folder or --figures a file, to be said before anything is measured."""
    if json_file is not None and json_file.is_dir():
        raise DataError(f"{json_file} is a folder: name the file to write as --json, such as {json_file / 'n.json'}")
    if figures is not None:
        require_folder(figures, "--figures")


def shell(*words: object) -> str:
    """A command that can be pasted into a shell, whatever its files are called."""
    return shlex.join(map(str, words))


def next_steps(commands: Sequence[str]) -> None:
    if is_quiet():
        return
    print("next:")
    for line in commands:
        print(f"  {line}")
