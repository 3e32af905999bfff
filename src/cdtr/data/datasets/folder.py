"""Images sorted into class folders: ROOT/CLASS/... or ROOT/train|val|test/CLASS/..., with boxes where some lie beside.

The splits may also be called Train, valid, validation, dev and so on.
Images may lie at any depth below their class. A class folder without images is no class: it is warned about and left
out, and an error only if no images remain. Hidden files are ignored; links that leave the root are skipped. Boxes are
found in the formats of ``cdtr.data.annotations``.
"""

from __future__ import annotations

import warnings
from itertools import chain
from pathlib import Path

from cdtr.data.annotations import Images, find_boxes, no_annotation
from cdtr.data.files import find_images, natural_key, visible_folders, warn_of_links
from cdtr.data.images import IMAGE_SUFFIXES
from cdtr.errors import DataError
from cdtr.records import DataSource, Sample

_SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_BESIDE = {"annotations", "labels", "metadata"}  # folders of boxes, which are no classes without images
_SPLIT_OF_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}


def recognises(root: Path) -> bool:
    """Any folder with sub-folders may be one."""
    return bool(visible_folders(root))


def load(root: Path) -> DataSource:
    splits, linked = {}, 0
    folders = _split_folders(root)
    for split, folder in folders.items():
        splits[split], skipped = _read_classes(folder, root)
        linked += skipped
    _check_not_empty(root, splits, linked)
    warn_of_links(root, linked)
    names = sorted({name for classes in splits.values() for name in classes}, key=natural_key)
    _check_known(folders, splits)
    samples = {split: _samples(root, classes, names) for split, classes in splits.items()}
    boxes = find_boxes(Images(root, chain.from_iterable(samples.values()), names))
    return DataSource(
        name="folder",
        root=root,
        class_names=tuple(names),
        splits=samples,
        annotated=boxes is not None,
        annotate=boxes or no_annotation,
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """Which folders hold the class folders, by split.

    A folder is a split if it is named like one, in any capitalisation, and has class folders and no images of its own,
    so that classes named train (the vehicle) or test stay classes. DataError where both readings remain.
    """
    folders = visible_folders(root)
    named = [folder for folder in folders if folder.name.casefold() in _SPLIT_OF_WORD]
    found = [folder for folder in named if _has_class_folders(folder)]
    if not found:
        return {"train": root}
    left_out = [folder for folder in folders if folder not in found and find_images(folder, root)[0]]
    strange = [folder for folder in left_out if folder not in named]
    if len(found) == 1 and strange:
        raise _two_readings(found[0], strange)
    for folder in left_out:
        warnings.warn(f"{folder} is left out: expected class folders in train, val or test", stacklevel=4)
    return _by_split(found)


def _by_split(folders: list[Path]) -> dict[str, Path]:
    by_split: dict[str, Path] = {}
    for split in _SPLIT_WORDS:
        same = [folder for folder in folders if _SPLIT_OF_WORD[folder.name.casefold()] == split]
        if len(same) > 1:
            raise DataError(f"{same[0]} and {same[1]} would both be the {split} split: keep or rename one of them")
        if same:
            by_split[split] = same[0]
    return by_split


def _two_readings(split: Path, siblings: list[Path]) -> DataError:
    classes = ", ".join(folder.name for folder in visible_folders(split)[:3])
    others = ", ".join(folder.name for folder in siblings[:3])
    return DataError(
        f"{split} can be read in two ways: as the {_SPLIT_OF_WORD[split.name.casefold()]} split with the classes "
        f"{classes}, or as a class beside {others}: for the first, rename its siblings train, val or test, or move "
        f"them away; for the second, rename {split.name}"
    )


def _has_class_folders(folder: Path) -> bool:
    if not folder.is_dir() or any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in folder.iterdir()):
        return False
    return bool(visible_folders(folder))


def _read_classes(folder: Path, root: Path) -> tuple[dict[str, list[Path]], int]:
    """Images by class name, and how many links were skipped."""
    classes: dict[str, list[Path]] = {}
    linked = 0
    for class_folder in visible_folders(folder):
        images, skipped = find_images(class_folder, root)
        linked += skipped
        if images:
            classes[class_folder.name] = images
        elif class_folder.name.casefold() not in _BESIDE:
            warnings.warn(f"{class_folder} has no images that count: not taken as a class", stacklevel=4)
    return classes, linked


def _samples(root: Path, classes: dict[str, list[Path]], names: list[str]) -> tuple[Sample, ...]:
    return tuple(
        Sample(image_id=path.relative_to(root).as_posix(), path=path, label=label)
        for label, name in enumerate(names)
        for path in classes.get(name, ())
    )


def _check_not_empty(root: Path, splits: dict[str, dict[str, list[Path]]], linked: int) -> None:
    if any(splits.values()):
        return
    found = f"{linked} links that leave it" if linked else "none"
    raise DataError(
        f"{root}: expected images ({', '.join(sorted(IMAGE_SUFFIXES))}) in one sub-folder per class, found {found}"
    )


def _check_known(folders: dict[str, Path], splits: dict[str, dict[str, list[Path]]]) -> None:
    if not splits.get("train"):
        return
    for split, classes in splits.items():
        unknown = sorted(set(classes) - set(splits["train"]), key=natural_key)
        if unknown:
            raise DataError(
                f"{folders[split]} has classes that {folders['train']} lacks: {', '.join(unknown[:5])}: "
                "name the folders alike, or add training images"
            )
