"""Pascal VOC 2007 to 2012: ``VOC20XX/JPEGImages``, ``Annotations`` and ``ImageSets/Main``. Everingham et al. 2010.

The root is a ``VOC20XX`` folder, ``VOCdevkit`` with some of them, or what holds ``VOCdevkit``. ``CLASS_train.txt``
and its kin tell with 1, 0 or -1 whether an image shows a class, only difficult objects of it, or none. Only images that
show a single class count: a method is taught one label an image. Their boxes are those of their class, without
difficult ones, counted from 1 with the last pixel included. Sets of labelling tools have ``train.txt`` and ``val.txt``
alone, or one list of another name: their classes are those of the XML.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from cdtr.account import Account
from cdtr.errors import DataError
from cdtr.formats.voc import read_own, read_voc
from cdtr.image_files.paths import inside, read_lines, visible_folders
from cdtr.image_files.reading import IMAGE_SUFFIXES
from cdtr.records import Annotation, DataSource, Sample

_SPLITS = ("train", "val", "test")
_FLAGS = {"1": 1, "0": 0, "-1": -1}
LAYOUT = "Pascal VOC: expected JPEGImages, Annotations and ImageSets/Main in a VOC20XX"


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return bool(_years(root))


def load(root: Path) -> DataSource:
    """Index Pascal VOC; DataError if it is damaged."""
    years = _years(root)
    listed = sorted({name for year in years for name in _class_names(year)})
    account = Account("images", str(root))
    shown = {
        (year, split): flags
        for year in years
        for split, flags in (_by_lists(year, listed) if listed else _by_objects(year, account)).items()
    }
    classes = listed or sorted({name for found in shown.values() for flags in found.values() for name in flags})
    if not classes:
        raise DataError(
            f"{years[0] / 'ImageSets' / 'Main'} has no lists of classes such as cat_train.txt, and the XML of the "
            "images in its train.txt and val.txt names no class"
        )
    splits: dict[str, list[Sample]] = {split: [] for split in _SPLITS}
    for (year, split), found in shown.items():
        for name, flags in found.items():
            path = _image(root, year, name)
            if len(flags) == 1 and 1 in flags.values():
                (only,) = flags
                splits[split].append(Sample(path.relative_to(root).as_posix(), path, classes.index(only)))
            else:
                account.leave("images that show several classes, or none clearly,", f"{split}/{name}")
    account.warn()
    boxes = Account("boxes (voc, Annotations)", str(root))
    return DataSource(
        name="voc",
        root=root,
        class_names=tuple(classes),
        splits={split: tuple(samples) for split, samples in splits.items() if samples},
        annotated=True,
        annotate=partial(_annotate, tuple(classes), boxes),
        accounts=(account, boxes),
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


def _by_lists(year: Path, classes: list[str]) -> dict[str, dict[str, dict[str, int]]]:
    return {split: _read_flags(year, split, classes) for split in _SPLITS}


def _by_objects(year: Path, account: Account) -> dict[str, dict[str, dict[str, int]]]:
    """As ``_read_flags``, of every split, from the XML of the images that its list names.

    Without a list of a split's name all other lists are of images to train on, such as ``default.txt`` or
    ``trainval.txt``.
    """
    folder = year / "ImageSets" / "Main"
    lists = {split: [folder / f"{split}.txt"] for split in _SPLITS if (folder / f"{split}.txt").is_file()}
    lists = lists or {"train": sorted(folder.glob("*.txt"))}
    splits: dict[str, dict[str, dict[str, int]]] = {}
    for split, paths in lists.items():
        shown = splits[split] = {}
        for line in (line for path in paths for line in read_lines(path)):
            name = _stem(year, line)
            path = inside(year, f"Annotations/{name}.xml")
            try:
                objects = read_voc(path) if path.is_file() else None
            except DataError as error:
                account.leave("images whose XML cannot be read", str(error))
                continue
            if objects is None:
                account.leave("listed images without XML", f"{split}/{name}")
                continue
            flags = shown.setdefault(name, {})
            for found in objects:
                flags[found.name] = max(flags.get(found.name, 0), 0 if found.difficult else 1)
    return splits


def _stem(year: Path, line: str) -> str:
    """An image's name without suffix, as a list has it: with or without suffix, a folder, or a flag behind it."""
    name = line.replace("\\", "/").removeprefix("JPEGImages/")
    if not (year / "Annotations" / f"{name}.xml").is_file():
        name = name.rpartition(" ")[0].strip() if name.rpartition(" ")[2] in _FLAGS else name
        path = PurePosixPath(name)
        name = path.with_suffix("").as_posix() if path.suffix.lower() in IMAGE_SUFFIXES else name
    return name


def _image(root: Path, year: Path, name: str) -> Path:
    """The image of a name; of one that has another suffix than .jpg the file that is there."""
    path = inside(root, f"{_below(root, year)}JPEGImages/{name}.jpg")
    others = (path.with_name(f"{PurePosixPath(name).name}{suffix}") for suffix in sorted(IMAGE_SUFFIXES))
    return path if path.is_file() else next((other for other in others if other.is_file()), path)


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


def _annotate(classes: tuple[str, ...], account: Account, sample: Sample) -> Annotation | None:
    images = next(folder for folder in sample.path.parents if folder.name == "JPEGImages")
    path = (images.parent / "Annotations" / sample.path.relative_to(images)).with_suffix(".xml")
    if not path.is_file():
        return None
    return read_own(path, sample, classes[sample.label], account, difficult=False)
