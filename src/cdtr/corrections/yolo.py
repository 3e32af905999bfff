"""YOLO label files in a folder, as Label Studio, CVAT, Roboflow and `cdtr localize` lay them out.

A file of labels has the path of its image, without suffix, below a folder such as ``labels/train`` or
``obj_train_data``. The classes' names are in ``data.yaml``, ``classes.txt`` or ``obj.names``. Boxes are shares of the
image, whose size the format does not hold: it is taken from ours.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cdtr.corrections._boxes import BoxFile, ImageBoxes, NamedBox
from cdtr.corrections._names import exported_names
from cdtr.csv_cells import from_cell
from cdtr.data.annotations.yolo import About, read_about, read_yolo
from cdtr.data.images import read_size
from cdtr.errors import DataError

WRITTEN_AS = "yolo/data.yaml"
_NAMES = "names.csv"
_LISTS = {"classes", "train", "val", "valid", "test"}  # .txt files in the root that hold no labels
_MAX_PIXELS = 2**31  # only headers are read


def recognises(path: Path) -> bool:
    if path.is_file():
        return path.name == "data.yaml"
    return next(_label_files(path), None) is not None


def read(path: Path, reviewed: bool) -> BoxFile:
    """An image with an empty file counts as one whose boxes were all deleted."""
    root = path.parent if path.is_file() else path
    about = read_about([root, root / "labels"])
    classes = about.names
    if not classes:
        raise DataError(f"{root} has no data.yaml, classes.txt or obj.names: export it with the classes' names")
    ours = _written_names(root)
    if not reviewed and not ours:
        raise DataError(f"{root} has no {_NAMES}: point --boxes at coco.json or boxes.csv of the same `cdtr localize`")
    images = []
    for file in _label_files(root):
        name = file.relative_to(root).with_suffix("").as_posix()
        image_id, image = ours.get(name, (None, None))
        names = exported_names(name) if image_id is None else (image_id,)
        size = read_size(image, _MAX_PIXELS) if image is not None and image.is_file() else None
        boxes = tuple(_boxes(file, about))
        images.append(ImageBoxes(names, size, boxes, shares=True, bare=image_id is None))
    return BoxFile(tuple(images), classes, {})


def _boxes(file: Path, about: About) -> Iterator[NamedBox]:
    for number, shares in read_yolo(file, (1, 1), about.points):
        if number >= len(about.names):
            raise DataError(f"{file}: class {number}, but there are {len(about.names)} names of classes")
        yield NamedBox(about.names[number], shares)


def _label_files(root: Path) -> Iterator[Path]:
    """Every .txt that may hold labels: neither a list of images or classes, nor a note beside them."""
    for file in sorted(root.rglob("*.txt")):
        loose = file.parent == root and (file.stem.lower() in _LISTS or file.name.upper().startswith("README"))
        if not loose and not any(part.startswith(".") for part in file.relative_to(root).parts):
            yield file


def _written_names(root: Path) -> dict[str, tuple[str, Path]]:
    """(image id, image) by the path of its label file without suffix, as `cdtr localize` noted them."""
    path = root / _NAMES
    if not path.is_file():
        return {}
    found = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                image = PurePosixPath(row["file"])
                label = PurePosixPath("labels", *image.parts[1:]).with_suffix("")
                found[label.as_posix()] = from_cell(row["image"]), root / image
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r:.80}): restore it, or remove it") from error
    return found
