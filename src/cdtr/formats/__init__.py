"""Formats of boxes and masks, one file each; the file's name is the format's name.

A file may offer any of three things:

- Write localizations: ``FILE_NAME``, the file or folder that it writes, and ``open_writer(target)``.
  ``NEEDS_MASKS = True`` says that the localizations must have masks.
- Read boxes that come back from a review: ``WRITTEN_AS``, the file of ours that it reads, ``recognises(path)`` and
  ``read(path, reviewed)``.
- Read the true boxes of a data set: ``find(images)``, ``accepts(path)`` and ``open_annotations(paths, images,
  account)``.

``cdtr.formats._modules`` types these. The functions that all formats share lie in the files whose names begin with an
underscore; ``cdtr.records.Box`` is the record that all of them read to and write from. A format of another package is
found through the entry point ``cdtr.formats``, see ``cdtr.plugins``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cdtr.errors import ConfigError
from cdtr.formats._annotations import Annotate as Annotate
from cdtr.formats._annotations import find_boxes as find_boxes
from cdtr.formats._annotations import no_annotation as no_annotation
from cdtr.formats._annotations import open_boxes as open_boxes
from cdtr.formats._checks import BoxFile as BoxFile
from cdtr.formats._images import Images as Images
from cdtr.formats._left_out import LEFT_OUT as LEFT_OUT
from cdtr.formats._left_out import write_left_out as write_left_out
from cdtr.formats._modules import annotation_modules as annotation_modules
from cdtr.formats._modules import review_modules as review_modules
from cdtr.formats._modules import writer_modules
from cdtr.formats._target import Add as Add
from cdtr.formats._target import Target as Target
from cdtr.formats._target import can_be_written as can_be_written
from cdtr.records import Localization
from cdtr.text import did_you_mean


@dataclass(frozen=True, slots=True)
class Exporter:
    """A format that is written.

    Attributes:
        name: The format, with ``-`` between words.
        file_name: The file or folder that it writes.
        open: Opens the writer.
        needs_masks: The localizations must have masks.
    """

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
        """Write all localizations, one at a time.

        Args:
            localizations: The images with their boxes.
            path: The file or folder to write.
            class_names: The classes in the order of their indices.
            images_root: The folder that image ids are relative to.
        """
        with self.open(Target(path, tuple(class_names), images_root)) as add:
            for localization in localizations:
                add(localization)


def format_names() -> list[str]:
    """List the formats that can be written, with ``-`` between words."""
    return sorted(name.replace("_", "-") for name in writer_modules())


def find_exporter(name: str) -> Exporter:
    """Return the exporter of a name; raise ConfigError, which lists the choices, for an unknown one."""
    name = name.strip().lower().replace("_", "-")
    if name not in format_names():
        hint = did_you_mean(name, format_names())
        raise ConfigError(f"unknown format {name!r}{hint}; choose from {', '.join(format_names())}")
    module = writer_modules()[name.replace("-", "_")]()
    return Exporter(name, module.FILE_NAME, module.open_writer, getattr(module, "NEEDS_MASKS", False))
