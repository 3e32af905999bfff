"""Pascal VOC with pixels counted from 0 and half-open boxes, as datumaro, and so CVAT, reads the format by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cdtr.formats import voc
from cdtr.formats._checks import BoxFile
from cdtr.formats._target import Add, Target
from cdtr.formats._voc_labels import FILE
from cdtr.records import ImageBoxes

FILE_NAME = "voc_zero"
WRITTEN_AS = f"{FILE_NAME}/{FILE}"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write the folder of the format voc with other corners.

    ``xmin`` and ``ymin`` are the first pixel from 0, ``xmax`` and ``ymax`` the one after the last, fractions of pixels
    included.
    """
    with voc.open_voc(target, lambda box: box.xyxy) as add:
        yield add


def recognises(path: Path) -> bool:
    """Whether a file is the list of classes of our folder; a reviewed folder is read by ``voc``."""
    return path.is_file() and path.name == FILE and path.parent.name == FILE_NAME


def read(path: Path, reviewed: bool) -> BoxFile:
    """Read the folder that `cdtr localize` wrote."""
    found = voc.read(path, reviewed)
    return found if reviewed else replace(found, images=tuple(map(from_zero, found.images)))


def from_zero(image: ImageBoxes) -> ImageBoxes:
    """Return boxes that were read as if their first pixel counted from 1, and count from 0."""
    boxes = ((box, *box.xyxy) for box in image.boxes)
    return replace(image, boxes=tuple(box._replace(xyxy=(x0 + 1, y0 + 1, x1, y1)) for box, x0, y0, x1, y1 in boxes))
