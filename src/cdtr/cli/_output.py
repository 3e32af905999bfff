"""Where a command prints: `--json -` keeps standard output for the JSON, `--quiet` leaves out notes and progress."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

from cdtr.text import printable

STANDARD_OUTPUT = Path("-")
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
    if json_file == STANDARD_OUTPUT:  # ASCII, whatever the terminal
        print(printable(json.dumps(tree, indent=2), lines=True), file=_json_output or sys.stdout, flush=True)
        return
    from cdtr.runs import write_json

    write_json(json_file, tree)
    print(f"wrote {json_file}")
