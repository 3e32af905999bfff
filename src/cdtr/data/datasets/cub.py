"""CUB-200-2011, birds, in its published layout, all classes or some of them. Wah et al. 2011.

``images.txt``, ``image_class_labels.txt``, ``bounding_boxes.txt`` (id x y width height), ``train_test_split.txt`` and
``classes.txt``, a line for each image or class with its number first; the images below ``images``. Numbers may have
gaps. Each image has one box, in pixels counted from 0; a few reach slightly out of the image and stay so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from cdtr.errors import DataError
from cdtr.formats.wsol import LABEL_LISTS
from cdtr.image_files.paths import inside, read_lines
from cdtr.records import Annotation, DataSource, FloatArray, Sample

_LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")
_SPLITS = {"1": "train", "0": "test"}
Value = TypeVar("Value")


def recognises(root: Path) -> bool:
    """Look for the lists of CUB; with those of CUB-V2 beside them, the format is ``cub_v2``."""
    return has_lists(root) and extra_lists(root) is None


def has_lists(root: Path) -> bool:
    """Return whether the lists of CUB-200-2011 and its images are there."""
    return all((root / name).is_file() for name in _LISTS) and (root / "images").is_dir()


def extra_lists(root: Path) -> Path | None:
    """Return the folder of the WSOL benchmark's lists of CUB-V2; None if there is none."""
    places = (root / "metadata" / "CUB" / "val", root / "CUBV2")
    return next((place for place in places if all((place / name).is_file() for name in LABEL_LISTS)), None)


def load(root: Path) -> DataSource:
    """Index CUB-200-2011; DataError if it is damaged."""
    if not has_lists(root):
        raise DataError(f"{root} is not CUB-200-2011: expected {', '.join(_LISTS)} and the folder images in it")
    classes = _read(root / "classes.txt", str)
    index_of = {number: index for index, number in enumerate(classes)}
    names = _read(root / "images.txt", str)
    labels = _read_for(names, root / "image_class_labels.txt", partial(_known, index_of, "a class of classes.txt"))
    splits = _read_for(names, root / "train_test_split.txt", partial(_known, _SPLITS, "1 for train or 0 for test"))
    boxes = _read(root / "bounding_boxes.txt", _box) if (root / "bounding_boxes.txt").is_file() else {}
    samples = {number: _sample(root, name, labels[number]) for number, name in names.items()}
    by_id = {samples[number].image_id: box for number, box in boxes.items() if number in samples}
    return DataSource(
        name="cub",
        root=root,
        class_names=tuple(classes.values()),
        splits={
            split: tuple(sample for number, sample in samples.items() if splits[number] == split)
            for split in _SPLITS.values()
        },
        annotated=bool(by_id),
        annotate=partial(_annotate, by_id),
    )


def _read(path: Path, convert: Callable[[str], Value]) -> dict[str, Value]:
    """Read lines ``number value``; DataError names the first line that is different."""
    found: dict[str, Value] = {}
    for position, line in enumerate(read_lines(path), start=1):
        number, _, text = line.partition(" ")
        where = f"{path}, line {position}"
        if not number.isdigit() or not text.strip():
            raise DataError(f"{where}: {line!r}, expected a number and a value after a blank")
        if number in found:
            raise DataError(f"{where}: number {number} comes twice, keep one line for each")
        try:
            found[number] = convert(text.strip())
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
    return found


def _read_for(names: Mapping[str, str], path: Path, convert: Callable[[str], Value]) -> dict[str, Value]:
    """Read a list as ``_read`` does; DataError if it lacks an image."""
    found = _read(path, convert)
    missing = [name for number, name in names.items() if number not in found]
    if missing:
        raise DataError(f"{path} lacks {len(missing)} images of images.txt, such as {missing[0]}")
    return found


def _known(choices: Mapping[str, Value], expected: str, text: str) -> Value:
    if text not in choices:
        raise ValueError(f"{text!r}, expected {expected}")
    return choices[text]


def _box(text: str) -> FloatArray:
    """Convert x, y, width and height to a half-open box (1, 4)."""
    try:
        x, y, width, height = (float(field) for field in text.split())
    except ValueError:
        raise ValueError(f"box {text!r}, expected x, y, width and height") from None
    if not (width > 0 and height > 0 and np.isfinite([x, y, width, height]).all()):
        raise ValueError(f"box {text!r}, expected finite numbers with width and height above 0")
    return np.array([[x, y, x + width, y + height]])


def _sample(root: Path, name: str, label: int) -> Sample:
    path = inside(root / "images", name)
    return Sample(image_id=f"images/{name}", path=path, label=label)


def _annotate(boxes: Mapping[str, FloatArray], sample: Sample) -> Annotation | None:
    found = boxes.get(sample.image_id)
    return None if found is None else Annotation(boxes_xyxy=found)
