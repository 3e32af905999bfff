"""Where a workflow reports its notes, warnings and progress.

A workflow never prints. The command line passes a terminal; a notebook or a server may pass its own reporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cdtr.records import Sample


class Reporter(Protocol):
    """Receives the notes, warnings and progress of a workflow."""

    def note(self, message: str) -> None:
        """Take one line for the user."""
        ...

    def warn(self, message: str) -> None:
        """Take one line that the user must see: results may be wrong, or something is open that should not be."""
        ...

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a progress bar of ``total`` steps; it yields a function that advances it by a number of steps."""
        ...


class Silent:
    """A reporter that drops everything: the default."""

    def note(self, message: str) -> None:
        """Drop the line."""

    def warn(self, message: str) -> None:
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
