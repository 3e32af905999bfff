"""Label files of YOLO, and the files beside them that name the classes.

A line is ``class cx cy width height``, in fractions of the image; or a polygon, ``class x y x y ...``. Pose labels are
read by ``kpt_shape`` of ``data.yaml``. The classes' names come from ``data.yaml`` or ``dataset.yaml`` (``names``),
``classes.txt`` or ``obj.names``.

Fractions are written with six decimals as a rule. What that many cannot tell from a whole pixel is taken to be one:
the protocols scale boxes and cut off what is behind the point, which would cost 59.9999 a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdtr.config import read_text_tree
from cdtr.errors import ConfigError, DataError
from cdtr.formats._checks import Size, check_box
from cdtr.image_files.paths import read_lines
from cdtr.records import Corners, FloatArray

_YAML = ("data.yaml", "data.yml", "dataset.yaml")
_LISTS = ("classes.txt", "obj.names")
_SLACK = 0.2  # by which a polygon may reach out of its image
_DECIMALS = 1e-6  # of the image; a centre and half a size that are off by half of the sixth decimal make 0.75 of it


class About(NamedTuple):
    """What the files beside the labels say: the classes' names, and how many numbers key points add to a line."""

    names: tuple[str, ...] = ()
    points: int | None = None

    def name(self, number: int, path: Path) -> str:
        """Return the name of a class; raise DataError for a number without one."""
        if number >= len(self.names):
            raise DataError(f"{path}: class {number}, but there are {len(self.names)} names of classes")
        return self.names[number]


def read_yolo(path: Path, size_hw: Size, points: int | None = None) -> list[tuple[int, Corners]]:
    """Read a label file.

    Args:
        path: The file.
        size_hw: The height and width of the image; (1, 1) for boxes in fractions of it.
        points: How many numbers of key points follow the box of each line; None where lines may be polygons.

    Returns:
        The class number and the half-open box in pixels of each line.

    Raises:
        DataError: A line is no label; the message names it.
    """
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, line {number}"
        kind, *fields = line.split()
        try:
            values = [float(field) for field in fields]
        except ValueError:
            values = []
        if points is not None and len(values) == 4 + points:
            values = values[:4]
        polygon = len(values) >= 6 and len(values) % 2 == 0 and points is None and _all_shares(values)
        if not kind.isdecimal() or not (len(values) == 4 or polygon):
            other = "a polygon of at least three points" if points is None else f"{points} numbers of key points more"
            raise DataError(
                f"{where}: {line[:60]!r}, expected a class number and cx, cy, width, height, or {other}, in shares of "
                "the image"
            )
        x0, y0, x1, y1 = _on_whole_pixels(np.array(_corners(values)), size_hw).tolist()
        found.append((int(kind), check_box((x0, y0, x1, y1), where)))
    return found


def _all_shares(values: Sequence[float]) -> bool:
    """Whether numbers may be shares of the image, with some slack: how visible a key point is may be 2."""
    return all(-_SLACK <= value <= 1 + _SLACK for value in values)


def _on_whole_pixels(shares_xyxy: FloatArray, size_hw: Size) -> FloatArray:
    """(4,) corners in pixels; those that six decimals cannot tell from a whole pixel lie on it."""
    height, width = size_hw
    sides = np.array([width, height, width, height])
    pixels = shares_xyxy * sides
    whole = np.rint(pixels)
    near = np.isclose(pixels, whole, rtol=0, atol=_DECIMALS * sides)
    corners: FloatArray = np.where(near, whole, pixels)
    return corners


def _corners(values: list[float]) -> Corners:
    if len(values) == 4:
        cx, cy, width, height = values
        return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
    xs, ys = values[0::2], values[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def read_about(folders: Sequence[Path]) -> About:
    """Read the first file about labels that any of the folders has; nothing without any."""
    for folder in folders:
        for name in _YAML:
            if (folder / name).is_file():
                return _read_yaml(folder / name)
        for name in _LISTS:
            if (folder / name).is_file():
                return About(tuple(read_lines(folder / name)))
    return About()


def _read_yaml(path: Path) -> About:
    """All of it as text: YAML takes the classes yes, null, 01 and 1.50 for other things."""
    try:
        tree = read_text_tree(path)
    except ConfigError as error:
        raise DataError(str(error)) from error
    names = tree.get("names")
    if isinstance(names, dict) and set(names) == set(map(str, range(len(names)))):
        names = [names[str(number)] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: names = {names!r:.80}, expected the classes' names in the order of their numbers")
    return About(tuple(names), _points(tree.get("kpt_shape"), path))


def _points(shape: Any, path: Path) -> int | None:
    """Numbers that key points add to a line: ``kpt_shape`` is their count and 2 or 3 numbers each."""
    if shape is None:
        return None
    if not (isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, str) and n.isdecimal() for n in shape)):
        raise DataError(f"{path}: kpt_shape = {shape!r:.60}, expected the number of key points and 2 or 3")
    return int(shape[0]) * int(shape[1])
