"""The modules of formats: those of this package, and of others through the entry point ``cdtr.formats``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from cdtr.account import Account
from cdtr.formats._checks import BoxFile
from cdtr.formats._images import Images
from cdtr.formats._target import Add, Target
from cdtr.plugins import modules_of
from cdtr.records import Annotation, Sample

PACKAGE = GROUP = "cdtr.formats"


class WriterModule(Protocol):
    """A format that is written. ``NEEDS_MASKS = True`` says that its localizations must have masks."""

    FILE_NAME: str

    def open_writer(self, target: Target) -> AbstractContextManager[Add]:
        """Open a context whose value is a function that takes one localization after the other.

        The file or folder takes its place at the end, whole; after an error nothing does.
        """
        ...


class ReviewModule(Protocol):
    """A format that is read whole: our boxes, and what a reviewer made of them."""

    WRITTEN_AS: str

    def recognises(self, path: Path) -> bool:
        """Whether a file, or a folder, looks like this format; cheap."""
        ...

    def read(self, path: Path, reviewed: bool) -> BoxFile:
        """Read the boxes; raise DataError, naming image and box, for what cannot be used."""
        ...


class AnnotationModule(Protocol):
    """A format of the true boxes of a data set."""

    def find(self, images: Images) -> list[Path]:
        """Find files or folders of this format where they usually lie; cheap, and reads no box."""
        ...

    def accepts(self, path: Path) -> bool:
        """Whether a file or folder that the user named looks like this format."""
        ...

    def open_annotations(
        self, paths: Sequence[Path], images: Images, account: Account
    ) -> Callable[[Sample], Annotation | None]:
        """Read the true boxes; raise DataError for a damaged file, AnnotationError later for those of one image."""
        ...


def writer_modules() -> dict[str, Callable[[], WriterModule]]:
    """Find the formats that are written, by name; nothing is imported yet."""
    return _modules("open_writer")


def review_modules() -> dict[str, Callable[[], ReviewModule]]:
    """Find the formats that are read whole, by name; nothing is imported yet."""
    return _modules("recognises")


def annotation_modules() -> dict[str, Callable[[], AnnotationModule]]:
    """Find the formats of true boxes, by name; nothing is imported yet."""
    return _modules("open_annotations")


def _modules(function: str) -> dict[str, Any]:
    return dict(modules_of(PACKAGE, GROUP, function))
