"""Formats of boxes and masks, one file each; the file's name is the format's name.

A format file has ``FILE_NAME``, the file or folder that it writes, and ``open_writer(target)``, a context manager that
answers a function to hand one localization after the other to. What it wrote takes its place at the end, whole; after
an error nothing does. ``NEEDS_MASKS = True`` in a file says that its localizations must have masks.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from cdtr.errors import ConfigError
from cdtr.exports._left_out import LEFT_OUT as LEFT_OUT
from cdtr.exports._left_out import write_left_out as write_left_out
from cdtr.exports._target import Add as Add
from cdtr.exports._target import Target as Target
from cdtr.exports._target import can_be_written as can_be_written
from cdtr.records import Localization


@dataclass(frozen=True, slots=True)
class Exporter:
    """How a format is written, under which name, and whether it needs masks."""

    name: str
    file_name: str
    open: Callable[[Target], AbstractContextManager[Add]]
    needs_masks: bool

    def write(
        self,
        localizations: Iterable[Localization],
        path: Path,
        class_names: Sequence[str],
        images_root: Path | None = None,
    ) -> None:
        """Write all of them to ``path``, one at a time; images_root: the folder that their ids are relative to."""
        with self.open(Target(path, tuple(class_names), images_root)) as add:
            for localization in localizations:
                add(localization)


def format_names() -> list[str]:
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in modules if not name.startswith("_"))


def find_exporter(name: str) -> Exporter:
    """The exporter of that name; ConfigError lists the choices."""
    name = name.strip().lower().replace("_", "-")
    if name not in format_names():
        close = difflib.get_close_matches(name, format_names(), n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown format {name!r}{hint}; choose from {', '.join(format_names())}")
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    return Exporter(name, module.FILE_NAME, module.open_writer, getattr(module, "NEEDS_MASKS", False))
