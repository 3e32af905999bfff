"""Tiny-ImageNet in its published layout, all 200 classes or some of them. Le and Yang 2015.

``wnids.txt`` lists the classes; ``train/WNID/images`` and ``train/WNID/WNID_boxes.txt`` hold the training images and
``val/images`` and ``val/val_annotations.txt`` (file, WNID, box) the validation images. The boxes, one an image, count
pixels from 0 and include the last one. A class's name is the first of its names in ``words.txt``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from cdtr.account import Account
from cdtr.data.wordnet import class_names
from cdtr.errors import DataError
from cdtr.image_files.paths import find_images, inside, read_lines
from cdtr.records import Annotation, DataSource, FloatArray, Sample

LAYOUT = "Tiny-ImageNet: expected wnids.txt and the folder train in it"


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return (root / "wnids.txt").is_file() and (root / "train").is_dir()


def load(root: Path) -> DataSource:
    """Index Tiny-ImageNet; DataError if it is damaged."""
    wnids = read_lines(root / "wnids.txt")
    twice = [wnid for wnid, count in Counter(wnids).items() if count > 1]
    if twice:
        raise DataError(f"{root / 'wnids.txt'} has {twice[0]} twice: keep one line a class")
    boxes: dict[str, FloatArray] = {}
    train: list[Sample] = []
    account = Account("images", str(root))
    for label, wnid in enumerate(wnids):
        folder = inside(root / "train", wnid)
        if not folder.is_dir():
            raise DataError(f"{root} lacks train/{wnid}, a class of wnids.txt")
        paths = find_images(folder, root, account)
        train += [Sample(_id(root, path), path, label) for path in paths]
        path = folder / f"{wnid}_boxes.txt"
        for name, fields, where in _lines(path, 5) if path.is_file() else ():
            boxes[_id(root, inside(folder / "images", name))] = _box(fields, where)
    account.warn()
    val = list(_read_val(root, {wnid: label for label, wnid in enumerate(wnids)}, boxes))
    return DataSource(
        name="tiny_imagenet",
        root=root,
        class_names=class_names(wnids, _words(root)),
        splits={"train": tuple(train), "val": tuple(val)},
        annotated=bool(boxes),
        annotate=partial(_annotate, boxes),
        accounts=(account,),
    )


def _read_val(root: Path, labels: Mapping[str, int], boxes: dict[str, FloatArray]) -> Iterator[Sample]:
    """The validation images; their boxes are added to ``boxes``."""
    path = root / "val" / "val_annotations.txt"
    for name, (wnid, *fields), where in _lines(path, 6) if path.is_file() else ():
        if wnid not in labels:
            raise DataError(f"{where}: class {wnid!r}, expected one of wnids.txt")
        image = inside(root / "val" / "images", name)
        sample = Sample(_id(root, root / "val" / "images" / name), image, labels[wnid])
        boxes[sample.image_id] = _box(fields, where)
        yield sample


def _lines(path: Path, count: int) -> Iterator[tuple[str, list[str], str]]:
    """File name, other fields and where they stand, of each line of ``count`` fields."""
    for position, line in enumerate(read_lines(path), start=1):
        name, *fields = line.split("\t")
        where = f"{path}, line {position}"
        if len(fields) != count - 1:
            raise DataError(f"{where}: {len(fields) + 1} fields, expected {count} with tabs between")
        yield name, fields, where


def _box(fields: list[str], where: str) -> FloatArray:
    """Inclusive corners to a half-open box (1, 4)."""
    try:
        x0, y0, x1, y1 = (int(field) for field in fields)
    except ValueError as error:
        raise DataError(f"{where}: box {fields}, expected whole numbers x0, y0, x1, y1") from error
    if not (0 <= x0 <= x1 and 0 <= y0 <= y1):
        raise DataError(f"{where}: box {fields} is inverted or negative, expected 0 <= x0 <= x1 and 0 <= y0 <= y1")
    return np.array([[x0, y0, x1 + 1, y1 + 1]], dtype=np.float64)


def _words(root: Path) -> dict[str, str]:
    path = root / "words.txt"
    return (
        {wnid: names for wnid, _, names in (line.partition("\t") for line in read_lines(path))}
        if path.is_file()
        else {}
    )


def _id(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _annotate(boxes: Mapping[str, FloatArray], sample: Sample) -> Annotation | None:
    found = boxes.get(sample.image_id)
    return None if found is None else Annotation(boxes_xyxy=found)
