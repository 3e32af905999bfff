"""Limits on the size of the command line, which holds flags and printing alone."""

from __future__ import annotations

from pathlib import Path

import cdtr

LINES_A_COMMAND = 50  # on average, with what the commands share


def test_the_command_line_is_thin() -> None:
    files = sorted((Path(cdtr.__file__).parent / "cli").rglob("*.py"))
    assert len(files) > 20
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    assert lines <= LINES_A_COMMAND * len(files)
