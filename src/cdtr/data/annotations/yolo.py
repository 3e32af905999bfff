"""YOLO label files: ``class cx cy width height`` a line, in shares of the image; or a polygon, ``class x y x y ...``.

``a.txt`` lies beside ``a.jpg``, in a folder ``labels`` beside its folder ``images``, or in ``labels`` in the root,
under the end of the image's path that tells it apart. An empty file is an image without a box. The classes' names come
from ``data.yaml`` or ``dataset.yaml`` (``names``), ``classes.txt`` or ``obj.names``, in the root or in ``labels``.

Shares are written with six decimals as a rule. What that many cannot tell from a whole pixel is taken to be one: the
protocols scale boxes and cut off what is behind the point, which would cost 59.9999 a pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cdtr.config import read_tree
from cdtr.data.annotations._images import Images, NamedBox, check_box, faulty_box, own_boxes
from cdtr.data.files import read_lines
from cdtr.data.images import read_size
from cdtr.errors import ConfigError, DataError
from cdtr.records import Annotation, FloatArray, Sample

_YAML = ("data.yaml", "data.yml", "dataset.yaml")
_LISTS = ("classes.txt", "obj.names")
_MAX_PIXELS = 2**31  # only headers are read
_DECIMALS = 1e-6  # of the image; a centre and half a size that are off by half of the sixth decimal make 0.75 of it


def find(images: Images) -> list[Path]:
    """The root, where a label file of an image lies below it."""
    return [images.root] if next(images.with_files(images.root, ".txt"), None) is not None else []


def accepts(path: Path) -> bool:
    return path.is_dir() and next(path.rglob("*.txt"), None) is not None


def read(paths: Sequence[Path], images: Images) -> Callable[[Sample], Annotation | None]:
    boxes: dict[str, list[NamedBox]] = {}
    for folder in paths:
        beside = [] if folder == images.root else [folder.parent]
        names = _class_names([folder, folder / "labels", *beside])
        for path, sample in images.with_files(folder, ".txt"):
            boxes[sample.image_id] = _named(path, sample, names)
    where = ", ".join(map(str, paths))
    if not boxes:
        raise DataError(f"{where} has no label file for any of the images: expected a.txt for a.jpg")
    _check_alone(boxes, where)
    return own_boxes(boxes, images, where)


def read_yolo(path: Path, size_hw: tuple[int, int]) -> list[tuple[int, tuple[float, float, float, float]]]:
    """(class number, half-open box in pixels) of each line; DataError names the line that is none."""
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, line {number}"
        kind, *fields = line.split()
        try:
            values = [float(field) for field in fields]
        except ValueError:
            values = []
        if not kind.isdecimal() or not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
            raise DataError(
                f"{where}: {line[:60]!r}, expected a class number and cx, cy, width, height, or a polygon of at least "
                "three points"
            )
        x0, y0, x1, y1 = _on_whole_pixels(np.array(_corners(values)), size_hw).tolist()
        found.append((int(kind), check_box((x0, y0, x1, y1), where)))
    return found


def _on_whole_pixels(shares_xyxy: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """(4,) corners in pixels; those that six decimals cannot tell from a whole pixel lie on it."""
    height, width = size_hw
    sides = np.array([width, height, width, height])
    pixels = shares_xyxy * sides
    whole = np.rint(pixels)
    near = np.isclose(pixels, whole, rtol=0, atol=_DECIMALS * sides)
    corners: FloatArray = np.where(near, whole, pixels)
    return corners


def _corners(values: list[float]) -> tuple[float, float, float, float]:
    if len(values) == 4:
        cx, cy, width, height = values
        return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2
    xs, ys = values[0::2], values[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _named(path: Path, sample: Sample, names: Sequence[str]) -> list[NamedBox]:
    if not path.stat().st_size:
        return []
    try:
        lines = read_yolo(path, read_size(sample.path, _MAX_PIXELS))
    except DataError as error:  # also of a broken image, which is not scored
        return [faulty_box(error)]
    boxes = []
    for kind, corners in lines:
        if names and kind >= len(names):
            return [faulty_box(DataError(f"{path}: class {kind}, but there are {len(names)} names of classes"))]
        boxes.append(NamedBox(names[kind] if names else f"class {kind}", corners))
    return boxes


def _check_alone(boxes: dict[str, list[NamedBox]], where: str) -> None:
    """Numbers without names tell nothing, unless there is only one of them."""
    numbers = {box.name for found in boxes.values() for box in found if (box.name or "").startswith("class ")}
    if len(numbers) > 1:
        raise DataError(
            f"{where} has boxes of {', '.join(sorted(filter(None, numbers))[:4])}, and no names of them: write "
            "classes.txt into the data set, a name per line in the order of the numbers"
        )


def _class_names(folders: Sequence[Path]) -> list[str]:
    for folder in folders:
        for name in _YAML:
            if (folder / name).is_file():
                return _yaml_names(folder / name)
        for name in _LISTS:
            if (folder / name).is_file():
                return read_lines(folder / name)
    return []


def _yaml_names(path: Path) -> list[str]:
    try:
        names = read_tree(path).get("names")
    except ConfigError as error:
        raise DataError(str(error)) from error
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names = {names!r}, expected the classes' names in the order of their numbers")
    return [str(name) for name in names]
