"""Where a command prints: `--json -` keeps standard output for the JSON, `--quiet` leaves out notes and progress."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

STANDARD_OUTPUT = Path("-")
_QUIET = "CDTR_QUIET"  # in the environment, so that the processes of `cdtr ablate` are quiet too

_json_output: TextIO | None = None


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Return whether standard output must hold JSON alone."""
    return "--json=-" in arguments or ("--json", "-") in pairwise(arguments)


@contextmanager
def output_for(arguments: Sequence[str], quiet: bool) -> Iterator[None]:
    """Send what a command prints to standard error if it was asked for JSON on standard output."""
    global _json_output
    before = os.environ.get(_QUIET)
    if quiet:
        os.environ[_QUIET] = "1"
    _json_output = sys.stdout
    try:
        if asks_for_json(arguments):
            with redirect_stdout(sys.stderr):
                yield
        else:
            yield
    finally:
        _json_output = None
        if before is None:
            os.environ.pop(_QUIET, None)


def is_quiet() -> bool:
    """Return whether to leave out progress, notes and next steps."""
    return os.environ.get(_QUIET, "") not in ("", "0")


def write_results(json_file: Path | None, tree: Any) -> None:
    """Write the JSON of ``--json``: to a file, which is named on the terminal, or to standard output for ``-``."""
    if json_file is None:
        return
    if json_file == STANDARD_OUTPUT:
        print(json.dumps(tree, indent=2), file=_json_output or sys.stdout, flush=True)  # ASCII, whatever the terminal
        return
    from cdtr.runs import write_json

    write_json(json_file, tree)
    print(f"wrote {json_file}")
