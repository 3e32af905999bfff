"""Data sets, one file a format: ``recognises(root)`` and ``load(root)``; the file name is the format's name."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from cdtr.data.files import unfit_class
from cdtr.errors import AnnotationError, DataError
from cdtr.records import Annotation, DataSource, Sample
from cdtr.text import fits_a_line

_FOLDER = "folder"  # its boxes lie in files that are of many images


class DatasetModule(Protocol):
    """What each module of this package offers."""

    def recognises(self, root: Path) -> bool:
        """Whether the root looks like this format; cheap, and never raises for an existing folder."""
        ...

    def load(self, root: Path) -> DataSource:
        """Index the data set; DataError if it is damaged."""
        ...


def format_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load_source(root: str | Path, format: str = "auto") -> DataSource:
    """Find and index the data set at ``root``.

    ``auto`` asks every format but ``folder`` whether it knows the root, and falls back on ``folder``. Raises DataError
    for an unknown format, a root that is missing or empty, and a data set with fewer than two classes.
    """
    root = Path(root)
    if format != "auto" and format not in format_names():
        close = difflib.get_close_matches(format, format_names(), n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise DataError(f"unknown data format {format!r}{hint}; choose one of auto, {', '.join(format_names())}")
    _check_root(root)
    format = format if format != "auto" else _recognise(root)
    source = _module(format).load(root)
    if format != _FOLDER:
        source = replace(source, annotate=partial(_annotate_one, source.annotate))
    check_class_names(source)
    if len(source.class_names) < 2:
        raise DataError(
            f"{root} has one class, {', '.join(source.class_names)}: expected at least two, "
            "because localization is learned from telling classes apart"
        )
    return source


def check_class_names(source: DataSource) -> None:
    """DataError for a class whose name no list with one name a line can hold, as a run and many formats have it."""
    for name in source.class_names:
        if not fits_a_line(name):
            raise unfit_class(name, source.root)


def _annotate_one(annotate: Callable[[Sample], Annotation | None], sample: Sample) -> Annotation | None:
    """Published sets keep the annotation of each image apart: what is wrong with one is no fault of the others."""
    try:
        return annotate(sample)
    except AnnotationError:
        raise
    except DataError as error:
        raise AnnotationError(str(error)) from error


def _recognise(root: Path) -> str:
    for name in format_names():
        if name != _FOLDER and _module(name).recognises(root):
            return name
    return _FOLDER


def _module(name: str) -> DatasetModule:
    return cast(DatasetModule, import_module(f"{__name__}.{name}"))


def _check_root(root: Path) -> None:
    if not root.exists():
        raise DataError(f"no folder {root}: expected a folder with one sub-folder of images per class")
    if not root.is_dir():
        raise DataError(f"{root} is a file: expected a folder with one sub-folder of images per class")
    if not any(root.iterdir()):
        raise DataError(f"{root} is empty: expected one sub-folder of images per class")
