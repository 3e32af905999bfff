"""What several commands share: notes, progress bars, the printing of scores, checks of the files to write."""

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
from cdtr.records import DataSource
from cdtr.terminal import PlainConsole
from cdtr.text import printable

if TYPE_CHECKING:
    from cdtr.workflows.scores import Scores

LOCALIZE_REST = " IMAGES --out boxes --format coco,csv"


def tell_reading(source: DataSource) -> None:
    """Print what was read of a data set; see ``report_reading``."""
    from cdtr.workflows.opening import report_reading

    report_reading(source, TERMINAL)


def print_scores(
    scores: Scores, json_file: Path | None = None, figures: Path | None = None, per_class: bool = False
) -> None:
    """Print one evaluation, or several protocols side by side, and write numbers and figures if asked."""
    from cdtr.cli._output import write_results
    from cdtr.reports.figures import write_figures
    from cdtr.reports.tables import metrics_table, per_class_table, protocols_table, summary_lines
    from cdtr.terminal import PlainConsole

    results, single = scores.evaluations, len(scores) == 1
    PlainConsole().print(metrics_table(results[0]) if single else protocols_table(results))
    for line in summary_lines(results[0]) if single else ():
        print(line)
    for result in results if per_class else ():
        PlainConsole().print(per_class_table(result, scores.class_names))
    if json_file is not None:
        write_results(json_file, scores.to_json())
    for path in [path for result in results for path in write_figures(result, figures)] if figures is not None else ():
        print(f"wrote {path}")


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, one plain line elsewhere; yields a function that advances it by a number of steps."""
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
    """Return the console for progress; with --quiet it shows nothing."""
    return PlainConsole(stderr=True, quiet=is_quiet())


def note(message: str) -> None:
    """Print a line beside the results; with --quiet nothing."""
    if not is_quiet():
        print(printable(message), file=sys.stderr)


def warn(message: str) -> None:
    """Print a line that begins with ``warning:``, with --quiet as well."""
    print(f"warning: {printable(message)}", file=sys.stderr)


class Terminal:
    """Reports a workflow to the terminal: notes as lines, progress as a bar."""

    @property
    def console(self) -> PlainConsole:
        """Where a training shows its progress; see ``progress_console``."""
        return progress_console()

    def note(self, message: str) -> None:
        """See ``note``."""
        note(message)

    def warn(self, message: str) -> None:
        """See ``warn``."""
        warn(message)

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """See ``progress_bar``."""
        return progress_bar(what, total)


TERMINAL = Terminal()


def require_folder(out: Path, option: str = "--out") -> None:
    """Raise DataError if a file is in the place of a folder to write."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: choose a folder as {option}")


def require_outputs(json_file: Path | None, figures: Path | None = None) -> None:
    """Raise DataError if --json is a folder or --figures a file, before anything is measured."""
    if json_file is not None and json_file.is_dir():
        raise DataError(f"{json_file} is a folder: name the file to write as --json, such as {json_file / 'n.json'}")
    if figures is not None:
        require_folder(figures, "--figures")


def shell(*words: object) -> str:
    """Return a command that can be pasted into a shell, whatever its files are called."""
    return shlex.join(map(str, words))


def next_steps(commands: Sequence[str]) -> None:
    """Print commands that the user may want to run next; with --quiet nothing."""
    if is_quiet():
        return
    print("next:")
    for line in commands:
        print(f"  {line}")
