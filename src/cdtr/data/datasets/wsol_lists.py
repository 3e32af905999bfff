"""The metadata lists of the public WSOL benchmark (Choe et al. 2020), read as they are.

A folder with ``image_ids.txt`` (an id a line), ``class_labels.txt`` (``id,label``), ``localization.txt`` and, if sizes
are wanted without images, ``image_sizes.txt`` (``id,width,height``); or sub-folders ``train``, ``val``, ``test`` and so
on that hold them, each a split. ``localization.txt`` has boxes, ``id,x0,y0,x1,y1``, whose corners pass unchanged, or
masks, ``id,mask,ignore``, with paths below the root; either several lines an image. The images lie below the root or
its ``images``; to score maps they need not be there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.data.files import inside, read_lines
from cdtr.errors import DataError
from cdtr.records import Annotation, DataSource, Sample, UInt8Array

_LISTS = ("image_ids.txt", "class_labels.txt")
_SPLITS = {"train": "train", "train-weaksup": "train", "train-fullsup": "train-fullsup", "val": "val", "test": "test"}
_OBJECT, _IGNORE = 1, 255
_MAX_MASK_PIXELS = 100_000_000


def recognises(root: Path) -> bool:
    return bool(_split_folders(root))


def load(root: Path) -> DataSource:
    folders = _split_folders(root)
    if not folders:
        raise DataError(f"{root} has no {' and '.join(_LISTS)}: expected them in it, or in train, val or test below it")
    labels = {split: _read_labels(folder) for split, folder in folders.items()}
    n_classes = 1 + max(label for found in labels.values() for label in found.values())
    names = tuple(read_lines(root / "class_names.txt")) if (root / "class_names.txt").is_file() else ()
    if names and len(names) < n_classes:
        raise DataError(f"{root / 'class_names.txt'} has {len(names)} names, the labels go up to {n_classes - 1}")
    places: dict[str, list[tuple[str, ...]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for split, folder in folders.items():
        places |= _read_places(folder, labels[split])
        sizes |= _read_sizes(folder, labels[split])
    return DataSource(
        name="wsol_lists",
        root=root,
        class_names=names or tuple(f"class {label}" for label in range(n_classes)),
        splits={
            split: tuple(Sample(image_id, _find_image(root, image_id), label) for image_id, label in found.items())
            for split, found in labels.items()
        },
        annotated=bool(places),
        annotate=partial(_annotate, root, places),
        size_hw=(lambda sample: sizes[sample.image_id]) if sizes else None,
    )


def _split_folders(root: Path) -> dict[str, Path]:
    if all((root / name).is_file() for name in _LISTS):
        return {"test": root}
    found = {_SPLITS[name]: root / name for name in _SPLITS}
    return {split: folder for split, folder in found.items() if all((folder / name).is_file() for name in _LISTS)}


def _fields(path: Path, known: dict[str, int], counts: tuple[int, ...]) -> Iterator[tuple[str, list[str], str]]:
    """(id, other fields, where) of each line; the id may hold commas itself."""
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, entry {number}"
        for count in counts:
            image_id, *fields = line.rsplit(",", count)
            if len(fields) == count and image_id in known:
                yield image_id, fields, where
                break
        else:
            raise DataError(f"{where}: {line!r} is not an id of image_ids.txt and {counts[0]} values: correct the list")


def _numbers(fields: list[str], where: str) -> list[float]:
    try:
        found = [float(field) for field in fields]
    except ValueError as error:
        raise DataError(f"{where}: {error}, expected numbers") from error
    if not np.isfinite(found).all():
        raise DataError(f"{where}: {','.join(fields)} are not finite, expected numbers")
    return found


def _read_labels(folder: Path) -> dict[str, int]:
    ids = read_lines(folder / "image_ids.txt")
    known = dict.fromkeys(ids, -1)
    if not ids or len(known) < len(ids):
        twice = next((image_id for image_id in known if ids.count(image_id) > 1), None)
        found = "no id" if twice is None else f"{twice} twice"
        raise DataError(f"{folder / 'image_ids.txt'} has {found}: expected each image once")
    for image_id, (label,), where in _fields(folder / "class_labels.txt", dict(known), (1,)):
        if not label.strip().isdigit():
            raise DataError(f"{where}: label {label!r}, expected a class number from 0 on")
        known[image_id] = int(label)
    missing = [image_id for image_id, label in known.items() if label < 0]
    if missing:
        raise DataError(f"{folder / 'class_labels.txt'} lacks {len(missing)} images, such as {missing[0]}")
    return known


def _read_sizes(folder: Path, known: dict[str, int]) -> dict[str, tuple[int, int]]:
    path = folder / "image_sizes.txt"
    sizes: dict[str, tuple[int, int]] = {}
    for image_id, fields, where in _fields(path, known, (2,)) if path.is_file() else ():
        width, height = _numbers(fields, where)
        if min(width, height) < 1:
            raise DataError(f"{where}: size {fields}, expected width and height of at least 1")
        sizes[image_id] = int(height), int(width)
    return sizes


def _read_places(folder: Path, known: dict[str, int]) -> dict[str, list[tuple[str, ...]]]:
    """The fields of an image's lines, checked if they are boxes."""
    path = folder / "localization.txt"
    places: dict[str, list[tuple[str, ...]]] = {}
    for image_id, fields, where in _fields(path, known, (4, 2)) if path.is_file() else ():
        if len(fields) == 4:
            x0, y0, x1, y1 = _numbers(fields, where)
            if x0 > x1 or y0 > y1:
                raise DataError(f"{where}: box {','.join(fields)} is inverted, expected x0,y0,x1,y1")
        places.setdefault(image_id, []).append(tuple(fields))
    return places


def _find_image(root: Path, image_id: str) -> Path:
    candidates = [inside(root, image_id), inside(root, f"images/{image_id}")]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _annotate(root: Path, places: dict[str, list[tuple[str, ...]]], sample: Sample) -> Annotation | None:
    found = places.get(sample.image_id)
    if found is None:
        return None
    if len(found[0]) == 4:
        return Annotation(boxes_xyxy=np.array(found, dtype=np.float64))
    objects = [_read_mask(inside(root, mask)) for mask, _ in found]
    ignored = [_read_mask(inside(root, ignore)) for _, ignore in found if ignore]
    if len({mask.shape for mask in objects + ignored}) > 1:
        raise DataError(f"{sample.image_id}: its masks have sizes {sorted({mask.shape for mask in objects + ignored})}")
    mask: UInt8Array = np.zeros(objects[0].shape, dtype=np.uint8)
    for region, value in [(region, _IGNORE) for region in ignored] + [(region, _OBJECT) for region in objects]:
        mask[region] = value
    return Annotation(
        boxes_xyxy=np.array([_around(region) for region in objects if region.any()]).reshape(-1, 4), mask=mask
    )


def _read_mask(path: Path) -> npt.NDArray[np.bool_]:
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MAX_MASK_PIXELS:
                raise DataError(f"{path}: mask of {image.width}x{image.height} pixels, too large")
            return np.asarray(image.convert("L")) > 0
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(f"{path}: cannot be read as a mask ({error})") from error


def _around(region: npt.NDArray[np.bool_]) -> list[float]:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
