"""OpenImages30k of the public WSOL benchmark: ``train|val|test/CLASS/ID.jpg`` with masks beside. Choe et al. 2020.

``ID_mCLASS_HASH.png`` is the mask of one object, ``ID_ignore.png`` the region that is passed over. The benchmark's
lists say the same and are used where they lie in ``metadata/OpenImages`` or ``metadata``; the images then may lie in
``dataset/OpenImages``. Without lists the names of the files tell. ``val`` is the benchmark's ``train-fullsup``, on
which a threshold is chosen. A class is named by its machine id, ``0bt_c3``, or as Open Images' own
``class-descriptions*.csv`` says.
"""

from __future__ import annotations

import csv
import re
from functools import partial
from glob import escape
from pathlib import Path

from cdtr.data.datasets._class_folders import read_class_folders
from cdtr.errors import DataError
from cdtr.formats.wsol import LABEL_LISTS, annotate_place, mask_annotation, read_lists, size_reader
from cdtr.image_files.paths import inside, visible_folders
from cdtr.records import Annotation, DataSource, Sample

_SPLITS = {"train": "train", "val": "train-fullsup", "test": "test"}
_MASK = re.compile(r".+_(?:ignore|m[0-9a-z_]+_[0-9a-f]+)\.png", re.IGNORECASE)
LAYOUT = (
    "OpenImages30k: expected train, val and test with class folders, and lists in metadata/OpenImages or masks such as "
    "ID_ignore.png beside the images of val and test"
)


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return bool(_lists(root)) or any(
        _MASK.fullmatch(path.name)
        for split in ("val", "test")
        for folder in (visible_folders(root / split) if (root / split).is_dir() else [])[:3]
        for path in folder.glob("*_ignore.png")
    )


def load(root: Path) -> DataSource:
    """Index OpenImages30k; DataError if it is damaged."""
    return _from_lists(root) if _lists(root) else _from_folders(root)


def _lists(root: Path) -> dict[str, Path]:
    """The folders of lists by split, where they are of OpenImages: their ids start with the split's folder."""
    for place in (root / "metadata" / "OpenImages", root / "metadata"):
        found = {split: place / name for name, split in _SPLITS.items() if _is_list(place / name)}
        if found:
            return found
    return {}


def _is_list(folder: Path) -> bool:
    if not all((folder / name).is_file() for name in LABEL_LISTS):
        return False
    with (folder / "image_ids.txt").open("rb") as file:
        return file.readline().startswith(f"{folder.name}/".encode())


def _from_lists(root: Path) -> DataSource:
    images = next((place for place in (root / "dataset" / "OpenImages",) if place.is_dir()), root)
    labels, places, sizes = read_lists(_lists(root))
    splits = {
        split: tuple(Sample(name, inside(images, name), label) for name, label in found.items())
        for split, found in labels.items()
    }
    names = {label: name.split("/")[-2] for found in labels.values() for name, label in found.items() if "/" in name}
    classes = [names.get(label, f"class {label}") for label in range(max(names, default=-1) + 1)]
    return DataSource(
        name="openimages",
        root=root,
        class_names=_spoken(root, classes),
        splits=splits,
        annotated=bool(places),
        annotate=partial(annotate_place, images, places, sizes=sizes),
        size_hw=size_reader(sizes),
    )


def _from_folders(root: Path) -> DataSource:
    folders = {split: root / name for name, split in _SPLITS.items() if (root / name).is_dir()}
    classes, splits = read_class_folders(root, folders, lambda path: _MASK.fullmatch(path.name) is None)
    return DataSource("openimages", root, _spoken(root, classes), splits, True, _masks_beside)


def _masks_beside(sample: Sample) -> Annotation | None:
    stem, folder = sample.path.stem, sample.path.parent
    objects = sorted(path for path in folder.glob(f"{escape(stem)}_m*.png") if _MASK.fullmatch(path.name))
    if not objects:
        return None
    ignored = folder / f"{stem}_ignore.png"
    return mask_annotation(sample, objects, [ignored] if ignored.is_file() else [])


def _spoken(root: Path, classes: list[str]) -> tuple[str, ...]:
    """Read names for machine ids from a list of Open Images (``/m/0bt_c3,Book``) in the root, if there is one."""
    words: dict[str, str] = {}
    for path in sorted(root.glob("class-descriptions*.csv")):
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                words |= {row[0].rpartition("/")[2]: row[1].strip() for row in csv.reader(file) if len(row) >= 2}
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} cannot be read as CSV ({error})") from error
    spoken = [words.get(name, name) for name in classes]
    return tuple(spoken) if len(set(spoken)) == len(spoken) else tuple(classes)
