"""What our own commands wrote: a hidden list beside it, so that it is never read as data or as the truth."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cdtr.json_tree import parse_json
from cdtr.runs import write_json

WRITTEN_FILE = ".cdtr-written.json"


def mark_written(folder: Path, names: Iterable[str]) -> None:
    """Note that files or folders in ``folder`` are results, beside those noted before."""
    if folder.is_dir():
        with suppress(OSError):  # the results are there, and a note is all that is missing
            write_json(folder / WRITTEN_FILE, {"written": sorted(written_names(folder) | set(names))})


def written_names(folder: Path) -> frozenset[str]:
    """The entries of a folder that are results of ours; none where there is no list, or a damaged one."""
    try:
        content = parse_json((folder / WRITTEN_FILE).read_text(encoding="utf-8"))
        return frozenset(name for name in content["written"] if isinstance(name, str))
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()
