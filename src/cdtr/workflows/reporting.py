"""Where a workflow reports its notes, warnings and progress.

A workflow never prints. The command line passes a terminal; a notebook or a server may pass its own reporter.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cdtr.records import Sample


_PACKAGE = __name__.partition(".")[0]


class Reporter(Protocol):
    """Receives the notes, warnings and progress of a workflow."""

    def note(self, message: str) -> None:
        """Take one line for the user."""
        ...

    def warn(self, message: str) -> None:
        """Take one line that bears on the result, such as an image that was left out: the user must see it."""
        ...

    def progress(self, what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Open a progress bar of ``total`` steps; it yields a function that advances it by a number of steps."""
        ...


class Silent:
    """The default reporter: drops notes and progress, and turns warnings into Python's, which a notebook shows."""

    def __repr__(self) -> str:
        """Short and without an address, as signatures in the reference show it."""
        return "SILENT"

    def note(self, message: str) -> None:
        """Drop the line."""

    def warn(self, message: str) -> None:
        """Warn with ``UserWarning`` at the line that called cdtr."""
        warnings.warn(message, stacklevel=_callers_level())

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield a function that does nothing."""
        yield lambda _count: None


SILENT = Silent()


def _callers_level() -> int:
    """Return the ``stacklevel`` that leads ``Silent.warn`` to the first line outside of this package."""
    level, frame = 2, sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    return level


def warn_of_left_out(reporter: Reporter, known: set[str] | None = None) -> Callable[[Sample, str], None]:
    """Return a function that warns of an image which cannot be read, for the loaders' ``on_broken``.

    Args:
        reporter: takes the warnings.
        known: gets the id of each image; an image is warned of once, though loaders of several views read it.
    """
    known = set() if known is None else known

    def warn(sample: Sample, reason: str) -> None:
        if sample.image_id in known:
            return
        known.add(sample.image_id)
        reporter.warn(f"left out {sample.image_id}: {reason}")

    return warn
