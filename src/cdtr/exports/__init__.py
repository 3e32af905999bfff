"""Formats of boxes, one file each; the file's name is the format's name.

A format file has ``FILE_NAME``, the file or folder that it writes, and a function
``write_NAME(localizations, path, class_names)``.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from cdtr.errors import ConfigError
from cdtr.records import Localization

Write: TypeAlias = Callable[[Iterable[Localization], Path, Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Exporter:
    """How a format is written, and under which name."""

    name: str
    file_name: str
    write: Write


def format_names() -> list[str]:
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def find_exporter(name: str) -> Exporter:
    """The exporter of that name; ConfigError lists the choices."""
    name = name.strip().lower().replace("_", "-")
    if name not in format_names():
        close = difflib.get_close_matches(name, format_names(), n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown format {name!r}{hint}; choose from {', '.join(format_names())}")
    stem = name.replace("-", "_")
    module = import_module(f"{__name__}.{stem}")
    return Exporter(name, module.FILE_NAME, getattr(module, f"write_{stem}"))
