"""Brain tumours in MRI slices: ``Train|Val/CLASS/images`` and ``Train|Val/CLASS/labels`` with YOLO files.

The classes' numbers in the files are their places in alphabetical order: Glioma, Meningioma, NoTumor (in the original a
folder ``No Tumor``), Pituitary. Of an image's boxes those of its own class count; some images also have one of another
class. An empty label file is an image without a box, and a missing one is not known about. ``NoTumor`` boxes outline
the whole head: they count as boxes of that class unless ``data.unboxed_classes`` names it. The original has 218
validation images in training as well (``data.deduplicate``).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from cdtr.account import Account
from cdtr.errors import DataError
from cdtr.formats.yolo import read_yolo
from cdtr.image_files.paths import find_images, natural_key, visible_folders
from cdtr.image_files.reading import read_size
from cdtr.records import Annotation, DataSource, Sample

_CLASSES = ("Glioma", "Meningioma", "NoTumor", "Pituitary")  # by their numbers in the label files
_SPLITS = {"train": "train", "val": "val", "test": "test"}
_MAX_PIXELS = 2**31  # only headers are read


def recognises(root: Path) -> bool:
    """Look for images and labels side by side in each class, and no list of the classes' names."""
    folders = _split_folders(root)
    classes = [folder for split in folders.values() for folder in visible_folders(split)]
    named = any((root / name).is_file() for name in ("data.yaml", "data.yml", "dataset.yaml", "classes.txt"))
    return (
        "train" in folders
        and not named
        and "NoTumor" in {_published(folder.name) for folder in classes}
        and all((folder / "images").is_dir() for folder in classes)
    )


def load(root: Path) -> DataSource:
    """Index the brain tumour set; DataError if it is damaged."""
    folders = _split_folders(root)
    found = {
        split: [entry for entry in visible_folders(folder) if (entry / "images").is_dir()]
        for split, folder in folders.items()
    }
    names = sorted({_published(entry.name) for entries in found.values() for entry in entries}, key=natural_key)
    if not names:
        raise DataError(f"{root} is not the brain tumour set: expected Train/CLASS/images and Val/CLASS/images in it")
    splits: dict[str, tuple[Sample, ...]] = {}
    account = Account("images", str(root))
    for split, entries in found.items():
        samples: list[Sample] = []
        for entry in entries:
            paths = find_images(entry / "images", root, account)
            label = names.index(_published(entry.name))
            samples += [Sample(path.relative_to(root).as_posix(), path, label) for path in paths]
        splits[split] = tuple(samples)
    account.warn()
    # Labels leave out a class that is not there, numbers in the files do not.
    numbers = [_CLASSES.index(name) for name in names] if set(names) <= set(_CLASSES) else list(range(len(names)))
    return DataSource("brain_tumor", root, tuple(names), splits, True, partial(_annotate, numbers), accounts=(account,))


def _published(folder: str) -> str:
    """Return the class of a folder: ``No Tumor`` is ``NoTumor``."""
    plain = folder.replace(" ", "").casefold()
    return next((name for name in _CLASSES if name.casefold() == plain), folder)


def _split_folders(root: Path) -> dict[str, Path]:
    return {name: folder for folder in visible_folders(root) if (name := folder.name.casefold()) in _SPLITS}


def _annotate(numbers: list[int], sample: Sample) -> Annotation | None:
    path = sample.path.parent.parent / "labels" / f"{sample.path.stem}.txt"
    if not path.is_file():
        return None
    lines = read_yolo(path, read_size(sample.path, _MAX_PIXELS)) if path.stat().st_size else []
    own = [box for kind, box in lines if kind == numbers[sample.label]]
    return Annotation(np.array(own, dtype=np.float64).reshape(-1, 4))
