"""Data sets, one file a format; the file's name is the format's name (``data.format``).

Start with ``load_source``. A format is a file of this package, or a module of another package that names it as an entry
point ``cdtr.datasets``; ``DatasetModule`` says what it has.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, cast

from cdtr.errors import AnnotationError, DataError
from cdtr.image_files.paths import unfit_class
from cdtr.plugins import modules_of
from cdtr.records import Annotation, DataSource, Sample
from cdtr.text import fits_a_line

_FOLDER = "folder"  # the fallback; its boxes may be in one file for many images


class DatasetModule(Protocol):
    """The functions of a data set's module.

    A module may also have ``LAYOUT``, such as ``"NEU-DET: expected the folders IMAGES and ANNOTATIONS in it"``. Then
    ``load_source`` refuses a root that ``recognises`` does not accept, with this text as the reason, and ``load`` is
    called for accepted roots only.
    """

    def recognises(self, root: Path) -> bool:
        """Return whether a folder has the layout of this format. Fast, and raises nothing for an existing folder."""
        ...

    def load(self, root: Path) -> DataSource:
        """List the images of the data set.

        Raises:
            DataError: The data set is damaged.
        """
        ...


def format_names() -> list[str]:
    """List the values of ``data.format``, sorted."""
    return list(_modules())


def load_source(root: str | Path, format: str = "auto") -> DataSource:
    """Find and index the data set in a folder.

    Args:
        root: The folder.
        format: One of ``format_names``. ``auto`` asks each format but ``folder`` whether it recognises the root, and
            takes ``folder`` if none does.

    Returns:
        The class names, the images of each split, and a reader of the boxes.

    Raises:
        DataError: An unknown format; a root that is missing, empty or of another format; fewer than two classes.
    """
    root = Path(root)
    modules = _modules()
    if format != "auto" and format not in modules:
        close = difflib.get_close_matches(format, modules, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        raise DataError(f"unknown data format {format!r}{hint}; choose one of auto, {', '.join(modules)}")
    _check_root(root)
    format = format if format != "auto" else _recognise(root)
    source = _load(modules[format](), root)
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
    """Refuse a class name that does not fit into a list with one name a line.

    Raises:
        DataError: Names the class.
    """
    for name in source.class_names:
        if not fits_a_line(name):
            raise unfit_class(name, source.root)


def _annotate_one(annotate: Callable[[Sample], Annotation | None], sample: Sample) -> Annotation | None:
    """Turn a DataError into an AnnotationError, which concerns one image: published sets have one file an image."""
    try:
        return annotate(sample)
    except AnnotationError:
        raise
    except DataError as error:
        raise AnnotationError(str(error)) from error


def _load(module: DatasetModule, root: Path) -> DataSource:
    layout: str | None = getattr(module, "LAYOUT", None)
    if layout is not None and not module.recognises(root):
        raise DataError(f"{root} is not {layout}")
    return module.load(root)


def _recognise(root: Path) -> str:
    """Ask the formats in alphabetical order; a format's module is imported when it is asked."""
    for name, find in _modules().items():
        if name != _FOLDER and find().recognises(root):
            return name
    return _FOLDER


def _modules() -> dict[str, Callable[[], DatasetModule]]:
    return cast(dict[str, Callable[[], DatasetModule]], modules_of(__name__, "cdtr.datasets"))


def _check_root(root: Path) -> None:
    if not root.exists():
        raise DataError(f"no folder {root}: expected a folder with one sub-folder of images per class")
    if not root.is_dir():
        raise DataError(f"{root} is a file: expected a folder with one sub-folder of images per class")
    if not any(root.iterdir()):
        raise DataError(f"{root} is empty: expected one sub-folder of images per class")
