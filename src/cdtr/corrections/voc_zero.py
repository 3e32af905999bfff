"""The folder of the format voc-zero as `cdtr localize` writes it; a reviewed one is read by ``voc``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cdtr.corrections import voc
from cdtr.corrections._boxes import BoxFile
from cdtr.corrections._pixels import from_zero

WRITTEN_AS = "voc_zero/labelmap.txt"


def recognises(path: Path) -> bool:
    return path.is_file() and path.name == "labelmap.txt" and path.parent.name == "voc_zero"


def read(path: Path, reviewed: bool) -> BoxFile:
    found = voc.read(path, reviewed)
    return found if reviewed else replace(found, images=tuple(map(from_zero, found.images)))
