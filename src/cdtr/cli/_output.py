"""What commands print, and where: `--json -` keeps standard output for the JSON, `--quiet` leaves out notes."""

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from cdtr.text import printable

if TYPE_CHECKING:
    from rich.table import Table

    from cdtr.terminal import PlainConsole
    from cdtr.workflows.scores import Scores
    from cdtr.workflows.train import Run

_QUIET = "CDTR_QUIET"  # in the environment, so that the processes of `cdtr ablate` are quiet too

# An argument in a message, `top_k=` or `view=tiled`, and those whose flag has another name.
_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)=([^`\n]*)`")
_FLAGS = {"overrides": "set", "formats": "format", "copies": "copy", "min_area_share": "min-area"}

_json_output: TextIO | None = None


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Return whether standard output must hold JSON alone."""
    return "--json=-" in arguments or ("--json", "-") in pairwise(arguments)


def with_flags(text: str) -> str:
    """Name the arguments of a message as flags.

    >>> with_flags("leave `min_score=` out, or give `view=tiled`, `overwrite=True` and `overrides=['seed=1']`")
    'leave --min-score out, or give --view tiled, --overwrite and --set seed=1'
    """

    def flag(found: re.Match[str]) -> str:
        name, value = _FLAGS.get(found[1], found[1]).replace("_", "-"), found[2].removeprefix("['").removesuffix("']")
        if value in ("True", "False"):
            return f"--{name}" if value == "True" else f"--no-{name}"
        return f"--{name} {value}".rstrip()

    return _ARGUMENT.sub(flag, text)


@contextmanager
def output_for(arguments: Sequence[str], quiet: bool) -> Iterator[None]:
    """Send what a command prints to standard error if it was asked for JSON on standard output."""
    global _json_output
    before = os.environ.get(_QUIET)
    if quiet:
        os.environ[_QUIET] = "1"
    _json_output = sys.stdout
    try:
        with redirect_stdout(sys.stderr if asks_for_json(arguments) else sys.stdout):
            yield
    finally:
        _json_output = None
        if before is None:
            os.environ.pop(_QUIET, None)


def is_quiet() -> bool:
    """Return whether to leave out progress, notes and next steps."""
    return os.environ.get(_QUIET, "") not in ("", "0")


class Terminal:
    """Reports a workflow on standard error: notes as lines, progress as a bar; with --quiet warnings alone."""

    @property
    def console(self) -> "PlainConsole":
        """Where a training shows its progress."""
        from cdtr.terminal import PlainConsole

        return PlainConsole(with_flags, stderr=True, quiet=is_quiet())

    def note(self, message: str) -> None:
        """Print a line beside the results."""
        if not is_quiet():
            print(printable(message), file=sys.stderr)

    def warn(self, message: str) -> None:
        """Print a line that begins with ``warning:``."""
        print(f"warning: {printable(message)}", file=sys.stderr)

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar on a terminal, one plain line elsewhere; yields a function that advances it by some steps."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = self.console
        if console.quiet or not console.is_terminal:
            self.note(f"{what}: {total}")
            yield lambda _count: None
            return
        columns = TextColumn("{task.description}"), BarColumn(32), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda count: progress.advance(task, count)


TERMINAL = Terminal()


def print_scores(
    scores: "Scores", json_file: Path | None = None, figures: Path | None = None, per_class: bool = False
) -> None:
    """Print one evaluation, or several protocols side by side, and write numbers and figures if asked."""
    from cdtr.reports.figures import write_figures
    from cdtr.reports.tables import metrics_table, per_class_table, protocols_table, summary_lines

    results, single = scores.evaluations, len(scores) == 1
    print_table(metrics_table(results[0]) if single else protocols_table(results))
    if scores.average_precision is not None:
        print(scores.average_precision)
    print_lines(summary_lines(results[0]) if single else ())
    for result in results if per_class else ():
        print_table(per_class_table(result, scores.class_names))
    write_results(json_file, scores.to_json())
    for path in [path for result in results for path in write_figures(result, figures)] if figures is not None else ():
        print(f"wrote {path}")


def write_results(json_file: Path | None, tree: Any) -> None:
    """Write the JSON of ``--json``: to a file, which is named on the terminal, or to standard output for ``-``."""
    if json_file == Path("-"):  # ASCII, whatever the terminal
        print(printable(json.dumps(tree, indent=2), lines=True), file=_json_output or sys.stdout, flush=True)
    elif json_file is not None:
        from cdtr.runs import write_json

        write_json(json_file, tree)
        print(f"wrote {json_file}")


def print_table(table: "Table") -> None:
    """Print a table of results."""
    from cdtr.terminal import PlainConsole

    PlainConsole().print(table)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines of results."""
    for line in lines:
        print(line)


def localize_step(run: object, *more: str) -> tuple[object, ...]:
    """Return the words of a command that localizes images with a run, for ``next_steps``."""
    return ("localize", run, "IMAGES", "--out", "boxes", "--format", "coco,csv", *more)


def steps_after_training(run: "Run", data: object, out: object) -> list[tuple[object, ...]]:
    """Return the words of the commands that follow a training, for ``next_steps``."""
    from cdtr.workflows.opening import HELD_OUT, find_test_split

    # Training has chosen a threshold without boxes; with boxes there is a better one.
    split, boxed = run.calibration_split, run.source.annotated
    how = ["--split", str(split)] if split != HELD_OUT else [] if boxed else ["--label-free"]
    useful = split is not None and (boxed or run.calibration() is None)
    calibrate = [("calibrate", run.path, "--data", data, *how)] if useful else []
    # Held-out images give a threshold, so only a split of its own measures what comes after it.
    evaluate = [("evaluate", out, "--data", data)] if find_test_split(run.source) else []
    return [*calibrate, *evaluate, localize_step(out, "--overlays")]


def next_steps(*commands: Sequence[object]) -> None:
    """Print commands that the user may want to run next, to be pasted into a shell; with --quiet nothing."""
    if not is_quiet():
        print("next:")
        print_lines(f"  {shlex.join(['cdtr', *map(str, words)])}" for words in commands)
