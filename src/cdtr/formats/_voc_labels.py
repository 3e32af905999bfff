"""Class names and colours as Pascal VOC's tools read them: ``labelmap.txt``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cdtr.errors import DataError

FILE = "labelmap.txt"


def check_label_names(class_names: Sequence[str]) -> None:
    """DataError for a name that the file cannot hold."""
    for name in class_names:
        if ":" in name or name.startswith("#") or name != name.strip():
            raise DataError(f"class {name!r}: {FILE} holds no colon, no # in front, no blank at an end: rename it")


def write_label_map(folder: Path, class_names: Sequence[str]) -> None:
    """``name:red,green,blue::`` a line, the background first."""
    background = "background" if "background" not in class_names else "__background__"
    lines = ["# label:color_rgb:parts:actions"]
    for index, name in enumerate([background, *class_names]):
        lines.append(f"{name}:{','.join(map(str, voc_colour(index)))}::")
    (folder / FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def voc_colour(index: int) -> tuple[int, int, int]:
    """Red, green and blue of a class, each of 2^24 indices another; VOC's development kit spreads the bits so."""
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue
