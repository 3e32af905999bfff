"""Limits on the size of the command line, which holds flags and printing alone."""

from __future__ import annotations

from pathlib import Path

import cdtr

MOST_LINES = 1200


def test_the_command_line_is_thin() -> None:
    files = sorted((Path(cdtr.__file__).parent / "cli").rglob("*.py"))
    assert len(files) > 20
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= MOST_LINES
