"""Boxes that lie beside images sorted by class, one file a format; the file name is the format's name.

A format module has ``find(images)``, the files in the places where such boxes usually lie, ``accepts(path)``, whether a
path that the user named looks like it, and ``read(paths, images, account)``, which answers the boxes of each image and
counts in the account what it took and left out.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeAlias, cast

from cdtr.account import Account
from cdtr.data.annotations._images import WRITTEN
from cdtr.data.annotations._images import Images as Images
from cdtr.data.written import written_names
from cdtr.errors import DataError
from cdtr.records import Annotation, Sample

Annotate: TypeAlias = Callable[[Sample], Annotation | None]
_DEEP = 4  # folders of a format of ours
_ONE_AN_IMAGE = {".xml", ".txt", ".png"}


class AnnotationModule(Protocol):
    """What each format of this package offers."""

    def find(self, images: Images) -> list[Path]:
        """Files or folders of this format where they usually lie; cheap, and reads no box."""
        ...

    def accepts(self, path: Path) -> bool:
        """Whether a file or folder that somebody named looks like this format."""
        ...

    def read(self, paths: Sequence[Path], images: Images, account: Account) -> Annotate:
        """The annotations of the images; DataError for a damaged file, AnnotationError for those of one image."""
        ...


def find_boxes(images: Images) -> tuple[Annotate, Account] | None:
    """A reader of the boxes beside the images and its account, or None where there are none.

    What is wrong with them, also that there are two formats of them, is a DataError when they are asked for: a training
    needs none.
    """
    try:
        found = {name: paths for name in format_names() if (paths := _module(name).find(images))}
    except DataError as error:
        return partial(_refuse, str(error)), Account("boxes")
    if len(found) > 1:
        places = " and ".join(f"{_show(paths, images.root)} ({name})" for name, paths in found.items())
        message = f"{images.root} has boxes in {places}: name those to use with --boxes or data.boxes"
        return partial(_refuse, message), Account("boxes")
    for name, paths in found.items():
        return _opened(name, paths, images)
    return None


def open_boxes(path: Path, images: Images) -> tuple[Annotate, Account]:
    """A reader of the boxes in a file or folder that the user named, and its account; DataError for one of no known
    format."""
    if not path.exists():
        raise DataError(f"no boxes at {path}: expected a file or folder of one of the formats {_choices()}")
    for name in format_names():
        module = _module(name)
        if module.accepts(path):
            annotate, account = _opened(name, [path], images)
            for one in (path, *path.absolute().parents[:_DEEP]):
                if one.name in written_names(one.parent):
                    account.remark(WRITTEN, str(path), serious=True)
            return annotate, account
    if path.suffix.lower() in _ONE_AN_IMAGE:
        raise DataError(f"{path} is of one image: give the folder of such files, {path.parent}")
    raise DataError(f"{path} is of no format that is known for boxes: expected one of {_choices()}")


def format_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def no_annotation(_sample: Sample) -> Annotation | None:
    """The reader of a set without boxes."""
    return None


def _opened(name: str, paths: Sequence[Path], images: Images) -> tuple[Annotate, Account]:
    account = Account(f"boxes ({name}, {_show(paths, images.root)})", str(paths[0]))
    return _Once(partial(_module(name).read, paths, images, account), account), account


def _refuse(message: str, _sample: Sample) -> Annotation | None:
    raise DataError(message)


class _Once:
    """Reads the files when the first annotation is asked for: training never asks, evaluation does in threads."""

    def __init__(self, read: Callable[[], Annotate], account: Account) -> None:
        self._read = read
        self._account = account
        self._annotate: Annotate | None = None
        self._lock = Lock()

    def __call__(self, sample: Sample) -> Annotation | None:
        with self._lock:
            if self._annotate is None:
                try:
                    self._annotate = self._read()
                    self._account.warn()
                except DataError as error:
                    self._annotate = partial(_refuse, str(error))
        return self._annotate(sample)


def _module(name: str) -> AnnotationModule:
    return cast(AnnotationModule, import_module(f"{__name__}.{name}"))


def _show(paths: Sequence[Path], root: Path) -> str:
    return paths[0].relative_to(root).as_posix() or "." if paths[0].is_relative_to(root) else str(paths[0])


def _choices() -> str:
    return (
        "COCO (.json), CSV (.csv), WSOL lists (localization.txt), Pascal VOC (a folder of .xml), YOLO (a folder of "
        ".txt), masks (a folder of .png)"
    )
