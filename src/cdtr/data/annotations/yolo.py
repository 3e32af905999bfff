"""YOLO label files: ``class cx cy width height`` a line, in shares of the image; or a polygon, ``class x y x y ...``.

``a.txt`` lies beside ``a.jpg``, in a folder ``labels`` beside its folder ``images``, or in ``labels`` in the root,
under the end of the image's path that tells it apart; the labels of a set for trainers, with images of its own, are of
those images. Pose labels are read by ``kpt_shape`` of ``data.yaml``. An empty file is an image without a box. The
classes' names come from ``data.yaml`` or ``dataset.yaml`` (``names``), ``classes.txt`` or ``obj.names``, in the root
or in ``labels``.

Shares are written with six decimals as a rule. What that many cannot tell from a whole pixel is taken to be one: the
protocols scale boxes and cut off what is behind the point, which would cost 59.9999 a pixel.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from cdtr.account import Account
from cdtr.config import read_text_tree
from cdtr.csv_cells import from_cell
from cdtr.data.annotations._boxes import NamedBox, check_box, faulty_box, own_boxes
from cdtr.data.annotations._images import Images
from cdtr.data.files import read_lines, walk
from cdtr.data.images import IMAGE_SUFFIXES, read_size
from cdtr.errors import ConfigError, DataError
from cdtr.records import Annotation, FloatArray, Sample

_YAML = ("data.yaml", "data.yml", "dataset.yaml")
_NAMES_CSV = "names.csv"
_LISTS = ("classes.txt", "obj.names")
_MAX_PIXELS = 2**31  # only headers are read
_SLACK = 0.2  # by which a polygon may reach out of its image
_DECIMALS = 1e-6  # of the image; a centre and half a size that are off by half of the sixth decimal make 0.75 of it


def find(images: Images) -> list[Path]:
    """The root, where a label file of an image lies below it."""
    return [images.root] if next(images.with_files(images.root, ".txt"), None) is not None else []


def accepts(path: Path) -> bool:
    return path.is_dir() and next(path.rglob("*.txt"), None) is not None


def read(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    boxes: dict[str, list[NamedBox]] = {}
    for folder in paths:
        about = read_about([folder, folder / "labels", *_above(folder, images.root)])
        for path, sample in _label_files(folder, images, account):
            boxes[sample.image_id] = _named(path, sample, about)
    where = ", ".join(map(str, paths))
    if not boxes:
        found = f", found {account.line()}" if account.left_out else ""
        raise DataError(f"{where} has no label file for any of the images: expected a.txt for a.jpg{found}")
    _check_alone(boxes, where)
    return own_boxes(boxes, images, where, account, shares=True)


class About(NamedTuple):
    """What the files beside the labels say: the classes' names, and how many numbers key points add to a line."""

    names: tuple[str, ...] = ()
    points: int | None = None


def _label_files(folder: Path, images: Images, account: Account) -> Iterator[tuple[Path, Sample]]:
    """The label files below a folder and their images.

    Where a label file has its own image beside it, as in sets for trainers, that image says which one it is of: links
    lead to it, copies equal it. Names alone would give the labels of one split to images of another.
    """
    by_name = []
    names = _listed_names(folder)
    for path in sorted(path for path, _ in walk(folder) if path.suffix.lower() == ".txt"):
        beside = _image_beside(path)
        if beside is None:
            listed = names.get(path.relative_to(folder).with_suffix("").as_posix())
            sample = images.find(listed, str(folder / _NAMES_CSV)) if listed else None
            if sample is None:
                by_name.append(path)
            else:
                yield path, sample
            continue
        sample = images.at(beside)
        found = [sample] if sample is not None else images.in_scope(images.with_content(beside))
        if len(found) == 1:
            yield path, found[0]
        else:
            why = "label files of images that the data lack" if not found else "label files of several equal images"
            account.leave(why, path.relative_to(folder).as_posix())
    yield from images.with_files(folder, ".txt", account, by_name)


def _listed_names(folder: Path) -> dict[str, str]:
    """The images of label files as our own export lists them, for where its images have gone."""
    path = folder / _NAMES_CSV
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row.get("file") or "", from_cell(row.get("image") or "")) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}): write the export again") from error
    return {
        PurePosixPath("labels", *PurePosixPath(file).parts[1:]).with_suffix("").as_posix(): image
        for file, image in rows
        if image
    }


def _image_beside(path: Path) -> Path | None:
    """The image of a label file where trainers look for it: in ``images`` for ``labels``, by the last such folder."""
    parts = list(path.absolute().parts)
    places = [number for number, part in enumerate(parts[:-1]) if part == "labels"]
    if not places:
        return None
    parts[places[-1]] = "images"
    stem = Path(*parts).with_suffix("")
    names = (stem.with_name(stem.name + suffix) for suffix in IMAGE_SUFFIXES)
    return next((path for path in names if path.is_file()), None)


def read_yolo(
    path: Path, size_hw: tuple[int, int], points: int | None = None
) -> list[tuple[int, tuple[float, float, float, float]]]:
    """(class number, half-open box in pixels) of each line; DataError names the line that is none.

    points: how many numbers of key points follow the box of each line, as ``kpt_shape`` says; None where lines may be
    polygons.
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


def _named(path: Path, sample: Sample, about: About) -> list[NamedBox]:
    if not path.stat().st_size:
        return []
    try:
        lines = read_yolo(path, read_size(sample.path, _MAX_PIXELS), about.points)
    except DataError as error:  # also of a broken image, which is not scored
        return [faulty_box(error)]
    names = about.names
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


def _above(folder: Path, root: Path) -> list[Path]:
    """Folders above ``labels/train`` or ``labels``, where the names may lie."""
    if folder == root:
        return []
    return [folder.parent, *([folder.parent.parent] if folder.parent.name == "labels" else [])]


def read_about(folders: Sequence[Path]) -> About:
    """What the first folder that has such a file says of labels; nothing without any."""
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
