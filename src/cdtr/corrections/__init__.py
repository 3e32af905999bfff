"""Boxes that come back from a review, one file a tool's format; the file's name is the format's name.

A format file has ``WRITTEN_AS``, the file that `cdtr localize` writes of it, ``recognises(path)``, and ``read(path,
reviewed)``, which answers a ``BoxFile``: of our own boxes, or with ``reviewed`` of what a reviewer made of them.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from cdtr.corrections._boxes import BoxFile as BoxFile
from cdtr.corrections._boxes import ImageBoxes as ImageBoxes
from cdtr.corrections._boxes import NamedBox as NamedBox
from cdtr.corrections._compare import Change as Change
from cdtr.corrections._compare import Review as Review
from cdtr.corrections._compare import Tally as Tally
from cdtr.corrections._compare import compare as compare
from cdtr.corrections._names import match_images as match_images
from cdtr.errors import DataError


class FormatModule(Protocol):
    """What each format of this package offers."""

    WRITTEN_AS: str

    def recognises(self, path: Path) -> bool:
        """Whether the file looks like this format; cheap."""
        ...

    def read(self, path: Path, reviewed: bool) -> BoxFile:
        """The file's boxes; DataError, naming image and box, for what cannot be."""
        ...


def format_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def read_reviewed(path: Path) -> BoxFile:
    """What came back from a review; DataError for a file of no known format."""
    if not path.is_file():
        raise DataError(f"no file {path}: expected an export of Label Studio (JSON), COCO or CVAT (XML)")
    for name in format_names():
        if _module(name).recognises(path):
            return _module(name).read(path, reviewed=True)
    raise DataError(
        f"{path} is of no known format: expected Label Studio or COCO (JSON), CVAT for images (XML) or our CSV"
    )


def read_written(path: Path) -> tuple[Path, BoxFile]:
    """The boxes as `cdtr localize` wrote them: a file of its, or the folder, where the first of these files counts."""
    modules = [_module(name) for name in format_names()]
    if not path.is_dir():
        for module in modules:
            if path.is_file() and module.recognises(path):
                return path, module.read(path, reviewed=False)
        raise DataError(f"{path} is neither the --out of `cdtr localize` nor a file of boxes from it")
    for module in modules:
        file = path / module.WRITTEN_AS
        if file.is_file():
            return file, module.read(file, reviewed=False)
    choices = ", ".join(module.WRITTEN_AS for module in modules)
    raise DataError(f"{path} has none of {choices}: expected the --out of `cdtr localize`")


def _module(name: str) -> FormatModule:
    return cast(FormatModule, import_module(f"{__name__}.{name}"))
