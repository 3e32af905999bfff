"""Boxes that lie beside images sorted by class, one file a format; the file name is the format's name.

A format module has ``find(images)``, the files in the places where such boxes usually lie, ``accepts(path)``, whether a
path that the user named looks like it, and ``read(paths, images)``, which answers the boxes of each image.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeAlias, cast

from cdtr.data.annotations._images import Images as Images
from cdtr.errors import DataError
from cdtr.records import Annotation, Sample

Annotate: TypeAlias = Callable[[Sample], Annotation | None]


class AnnotationModule(Protocol):
    """What each format of this package offers."""

    def find(self, images: Images) -> list[Path]:
        """Files or folders of this format where they usually lie; cheap, and reads no box."""
        ...

    def accepts(self, path: Path) -> bool:
        """Whether a file or folder that somebody named looks like this format."""
        ...

    def read(self, paths: Sequence[Path], images: Images) -> Annotate:
        """The annotations of the images; DataError for a damaged file."""
        ...


def find_boxes(images: Images) -> Annotate | None:
    """A reader of the boxes beside the images, or None where there are none.

    What is wrong with them, also that there are two formats of them, is a DataError when they are asked for: a training
    needs none.
    """
    try:
        found = {name: paths for name in format_names() if (paths := _module(name).find(images))}
    except DataError as error:
        return partial(_refuse, str(error))
    if len(found) > 1:
        places = " and ".join(f"{_show(paths, images.root)} ({name})" for name, paths in found.items())
        return partial(_refuse, f"{images.root} has boxes in {places}: name those to use with --boxes or data.boxes")
    for name, paths in found.items():
        return _Once(partial(_module(name).read, paths, images))
    return None


def open_boxes(path: Path, images: Images) -> Annotate:
    """A reader of the boxes in a file or folder that the user named; DataError for one of no known format."""
    if not path.exists():
        raise DataError(f"no boxes at {path}: expected a file or folder of one of the formats {_choices()}")
    for name in format_names():
        module = _module(name)
        if module.accepts(path):
            return _Once(partial(module.read, [path], images))
    raise DataError(f"{path} is of no format that is known for boxes: expected one of {_choices()}")


def format_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def no_annotation(_sample: Sample) -> Annotation | None:
    """The reader of a set without boxes."""
    return None


def _refuse(message: str, _sample: Sample) -> Annotation | None:
    raise DataError(message)


class _Once:
    """Reads the files when the first annotation is asked for: training never asks, evaluation does in threads."""

    def __init__(self, read: Callable[[], Annotate]) -> None:
        self._read = read
        self._annotate: Annotate | None = None
        self._lock = Lock()

    def __call__(self, sample: Sample) -> Annotation | None:
        with self._lock:
            if self._annotate is None:
                try:
                    self._annotate = self._read()
                except DataError as error:
                    self._annotate = partial(_refuse, str(error))
        return self._annotate(sample)


def _module(name: str) -> AnnotationModule:
    return cast(AnnotationModule, import_module(f"{__name__}.{name}"))


def _show(paths: Sequence[Path], root: Path) -> str:
    return paths[0].relative_to(root).as_posix() or "." if paths[0].is_relative_to(root) else str(paths[0])


def _choices() -> str:
    return "COCO (.json), CSV (.csv), WSOL lists (localization.txt), Pascal VOC (.xml), YOLO (a folder of .txt)"
