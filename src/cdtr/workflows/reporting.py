"""Where a workflow reports while it works: its notes and its progress.

A workflow never prints. The command line hands it a terminal; a notebook or a server may hand it what it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cdtr.records import Sample


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


def note_left_out(reporter: Reporter) -> Callable[[Sample, str], None]:
    """Return a function that notes an image which cannot be read, for the loaders' ``on_broken``."""

    def note(sample: Sample, reason: str) -> None:
        reporter.note(f"left out {sample.image_id}: {reason}")

    return note
