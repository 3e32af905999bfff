"""A JSON list that is written entry by entry, so that a long one needs no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cdtr.runs import atomic_file


@contextmanager
def open_json_list(path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that appends an entry, given as JSON, as a line of its own."""
    with atomic_file(path) as file:
        between = "[\n"

        def append(entry: str) -> None:
            nonlocal between
            file.write((between + entry).encode("utf-8"))
            between = ",\n"

        yield append
        file.write(b"[]\n" if between == "[\n" else b"\n]\n")
