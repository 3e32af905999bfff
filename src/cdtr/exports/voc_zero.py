"""Pascal VOC with pixels counted from 0 and half-open boxes, as datumaro, and so CVAT, reads the format by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cdtr.exports._target import Add, Target
from cdtr.exports.voc import open_voc

FILE_NAME = "voc_zero"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """The folder of the format voc; ``xmin`` and ``ymin`` are the first pixel from 0, ``xmax`` and ``ymax`` the one
    after the last, fractions of pixels included.
    """
    with open_voc(target, lambda box: box.xyxy) as add:
        yield add
