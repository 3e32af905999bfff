"""The true boxes of a data set, in any format that has ``find``, ``accepts`` and ``open_annotations``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from cdtr.account import Account
from cdtr.errors import DataError
from cdtr.formats._images import WRITTEN, Images
from cdtr.formats._modules import annotation_modules
from cdtr.image_files.written import written_names
from cdtr.records import Annotation, Sample

Annotate: TypeAlias = Callable[[Sample], Annotation | None]
_DEEP = 4  # folders of a format of ours
_ONE_AN_IMAGE = {".xml", ".txt", ".png"}


def find_boxes(images: Images) -> tuple[Annotate, Account] | None:
    """Find the boxes beside the images.

    Returns:
        A reader of the boxes and its account; None where there are none. Damaged boxes, and boxes in two formats, are a
        DataError when the reader is called, as a training needs no boxes.
    """
    try:
        found = {name: paths for name, load in annotation_modules().items() if (paths := load().find(images))}
    except DataError as error:
        return partial(_refuse, str(error)), Account("boxes")
    if len(found) > 1:
        places = " and ".join(f"{_show(paths, images.root)} ({name})" for name, paths in found.items())
        message = f"{images.root} has boxes in {places}: name those to use with `boxes=` or data.boxes"
        return partial(_refuse, message), Account("boxes")
    for name, paths in found.items():
        return _opened(name, paths, images)
    return None


def open_boxes(path: Path, images: Images) -> tuple[Annotate, Account]:
    """Open the boxes in a file or folder that the user named.

    Returns:
        A reader of the boxes and its account.

    Raises:
        DataError: The file is of no known format.
    """
    if not path.exists():
        raise DataError(f"no boxes at {path}: expected a file or folder of one of the formats {_choices()}")
    for name, load in annotation_modules().items():
        if load().accepts(path):
            annotate, account = _opened(name, [path], images)
            for one in (path, *path.absolute().parents[:_DEEP]):
                if one.name in written_names(one.parent):
                    account.remark(WRITTEN, str(path), serious=True)
            return annotate, account
    if path.suffix.lower() in _ONE_AN_IMAGE:
        raise DataError(f"{path} is of one image: give the folder of such files, {path.parent}")
    raise DataError(f"{path} is of no format that is known for boxes: expected one of {_choices()}")


def no_annotation(_sample: Sample) -> Annotation | None:
    """The reader of a set without boxes."""
    return None


def _opened(name: str, paths: Sequence[Path], images: Images) -> tuple[Annotate, Account]:
    account = Account(f"boxes ({name}, {_show(paths, images.root)})", str(paths[0]))
    return _Once(partial(annotation_modules()[name]().open_annotations, paths, images, account), account), account


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


def _show(paths: Sequence[Path], root: Path) -> str:
    return paths[0].relative_to(root).as_posix() or "." if paths[0].is_relative_to(root) else str(paths[0])


def _choices() -> str:
    return (
        "COCO (.json), CSV (.csv), WSOL lists (localization.txt), Pascal VOC (a folder of .xml), YOLO (a folder of "
        ".txt), masks (a folder of .png)"
    )
