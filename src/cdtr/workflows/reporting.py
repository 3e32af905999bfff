"""Where a workflow reports while it works: its notes and its progress.

A workflow never prints. The command line hands it a terminal; a notebook or a server may hand it what it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Reporter(Protocol):
    """Receives the notes and the progress of a workflow."""

    def note(self, message: str) -> None:
        """Take one line for the user; a line that begins with ``warning:`` is one."""
        ...

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a progress bar of ``total`` steps; the function that it yields moves it on by a number of steps."""
        ...


class Silent:
    """A reporter that drops everything: the default."""

    def note(self, message: str) -> None:
        """Drop the line."""

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield a function that does nothing."""
        yield lambda _count: None


SILENT = Silent()
