"""Pascal VOC 2007 to 2012: ``VOC20XX/JPEGImages``, ``Annotations`` and ``ImageSets/Main``. Everingham et al. 2010.

The root is a ``VOC20XX`` folder, ``VOCdevkit`` with some of them, or what holds ``VOCdevkit``. ``CLASS_train.txt``
and its kin tell with 1, 0 or -1 whether an image shows a class, only difficult objects of it, or none. Only images that
show a single class count: a method is taught one label an image. Their boxes are those of their class, without
difficult ones, counted from 1 with the last pixel included.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

from cdtr.data.annotations.voc import read_voc, voc_to_half_open
from cdtr.data.files import inside, read_lines, visible_folders
from cdtr.errors import DataError
from cdtr.records import Annotation, DataSource, Sample

_SPLITS = ("train", "val", "test")
_FLAGS = {"1": 1, "0": 0, "-1": -1}


def recognises(root: Path) -> bool:
    return bool(_years(root))


def load(root: Path) -> DataSource:
    years = _years(root)
    if not years:
        raise DataError(f"{root} is not Pascal VOC: expected JPEGImages, Annotations and ImageSets/Main in a VOC20XX")
    classes = sorted({name for year in years for name in _class_names(year)})
    if not classes:
        raise DataError(f"{years[0] / 'ImageSets' / 'Main'} has no lists of classes such as cat_train.txt")
    splits: dict[str, list[Sample]] = {split: [] for split in _SPLITS}
    left_out = 0
    for year in years:
        for split in _SPLITS:
            shown = _read_flags(year, split, classes)
            for name, flags in shown.items():
                if len(flags) == 1 and 1 in flags.values():
                    path = inside(root, f"{_below(root, year)}JPEGImages/{name}.jpg")
                    (only,) = flags
                    splits[split].append(Sample(path.relative_to(root).as_posix(), path, classes.index(only)))
                else:
                    left_out += 1
    if left_out:
        warnings.warn(
            f"{root}: {left_out} images that show several classes, or none clearly, are left out", stacklevel=2
        )
    return DataSource(
        name="voc",
        root=root,
        class_names=tuple(classes),
        splits={split: tuple(samples) for split, samples in splits.items() if samples},
        annotated=True,
        annotate=partial(_annotate, tuple(classes)),
    )


def _years(root: Path) -> list[Path]:
    """The folders of single years in the root, or below its VOCdevkit."""
    for place in (root, root / "VOCdevkit"):
        if _is_year(place):
            return [place]
        found = [folder for folder in visible_folders(place) if _is_year(folder)] if place.is_dir() else []
        if found:
            return found
    return []


def _is_year(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in ("JPEGImages", "Annotations", "ImageSets/Main"))


def _below(root: Path, year: Path) -> str:
    return "" if year == root else f"{year.relative_to(root).as_posix()}/"


def _class_names(year: Path) -> set[str]:
    paths = [path for split in _SPLITS for path in (year / "ImageSets" / "Main").glob(f"*_{split}.txt")]
    return {path.stem.rpartition("_")[0] for path in paths}


def _read_flags(year: Path, split: str, classes: list[str]) -> dict[str, dict[str, int]]:
    """The classes that each image of a split shows, with 1, or 0 for difficult objects only."""
    shown: dict[str, dict[str, int]] = {}
    for name in classes:
        path = year / "ImageSets" / "Main" / f"{name}_{split}.txt"
        for number, line in enumerate(read_lines(path) if path.is_file() else (), start=1):
            image, _, flag = line.partition(" ")
            if flag.strip() not in _FLAGS or not image:
                raise DataError(f"{path}, line {number}: {line!r}, expected an image and 1, 0 or -1")
            flags = shown.setdefault(image, {})
            if _FLAGS[flag.strip()] >= 0:
                flags[name] = _FLAGS[flag.strip()]
    return shown


def _annotate(classes: tuple[str, ...], sample: Sample) -> Annotation | None:
    path = sample.path.parent.parent / "Annotations" / f"{sample.path.stem}.xml"
    if not path.is_file():
        return None
    own = [found for found in read_voc(path) if found.name == classes[sample.label] and not found.difficult]
    return Annotation(boxes_xyxy=voc_to_half_open(own))
