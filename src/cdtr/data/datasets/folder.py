"""Images sorted into class folders: ROOT/CLASS/... or ROOT/train|val|test/CLASS/..., with boxes where some lie beside.

The splits may also be called Train, valid, validation, dev and so on, or have a word more (training_set, seg_test).
Images may lie at any depth below their class. A class folder without images is no class: it is warned about and left
out, and an error only if no images remain. Hidden files are ignored, links are followed, and masks beside the images
are masks. Boxes are found in the formats of ``cdtr.formats``.
"""

from __future__ import annotations

import os
import re
import warnings
from itertools import chain
from pathlib import Path

from cdtr.account import Account
from cdtr.data.mask_files import separate_masks
from cdtr.errors import DataError
from cdtr.formats import Images, find_boxes, no_annotation
from cdtr.image_files.paths import find_images, natural_key, plain_name, unfit_class, visible_folders
from cdtr.image_files.reading import IMAGE_SUFFIXES
from cdtr.image_files.written import written_names
from cdtr.records import DataSource, Sample
from cdtr.text import fits_a_line

_OF_A_RUN = ("manifest.json", "classes.txt")
_SPLIT_WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_BESIDE = {"annotations", "labels", "metadata"}  # folders of boxes, which are no classes without images
_SPLIT_OF_WORD = {word: split for split, words in _SPLIT_WORDS.items() for word in words}


def recognises(root: Path) -> bool:
    """Return whether there are sub-folders; any such folder may be a set of class folders."""
    return bool(visible_folders(root))


def load(root: Path) -> DataSource:
    """Index class folders and the boxes beside them; DataError if it is damaged."""
    account = Account("images", str(root))
    folders = _split_folders(root)
    for folder in {root, *folders.values()}:
        _count_loose(folder, root, account)
    splits: dict[str, dict[str, list[Path]]] = {}
    masks: dict[str, Path] = {}
    for split, folder in folders.items():
        splits[split] = _read_classes(folder, root, account, masks)
    _check_not_empty(root, splits, account)
    account.warn()
    names = sorted({name for classes in splits.values() for name in classes}, key=natural_key)
    _check_known(folders, splits)
    samples = {split: _samples(root, classes, names) for split, classes in splits.items()}
    boxes = find_boxes(Images(root, chain.from_iterable(samples.values()), names, masks=masks))
    annotate, *accounts = boxes or (no_annotation,)
    return DataSource(
        name="folder",
        root=root,
        class_names=tuple(names),
        splits=samples,
        annotated=boxes is not None,
        annotate=annotate,
        accounts=(account, *accounts),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """Which folders hold the class folders, by split.

    A folder is a split if it is named like one, in any capitalisation, and has class folders and no images of its own,
    so that classes named train (the vehicle) or test stay classes. DataError where both readings remain. Folders that
    hold the same class folders and whose names have the words of several splits in them are splits, too; without such
    words they are classes, which is warned of.
    """
    folders = visible_folders(root)
    named = [folder for folder in folders if folder.name.casefold() in _SPLIT_OF_WORD]
    found = [folder for folder in named if _has_class_folders(folder)]
    if not found:
        return _alike_folders(root, folders)
    left_out = [folder for folder in folders if folder not in found and find_images(folder, root)]
    strange = [folder for folder in left_out if folder not in named]
    if len(found) == 1 and strange:
        raise _two_readings(found[0], strange)
    for folder in left_out:
        warnings.warn(f"{folder} is left out: expected class folders in train, val or test", stacklevel=4)
    return _by_split(found)


def _alike_folders(root: Path, folders: list[Path]) -> dict[str, Path]:
    """The splits among folders that hold the same class folders, else the root."""
    inner = {folder: _without_repeat(folder) for folder in folders}
    classes = {
        folder: {entry.name.casefold() for entry in visible_folders(place)}
        for folder, place in inner.items()
        if _has_class_folders(place)
    }
    if len(classes) < 2 or len(classes) < len(folders) or not set.intersection(*classes.values()):
        return {"train": root}
    splits = {folder: _split_in(folder.name) for folder in classes}
    if all(splits.values()) and len(set(splits.values())) > 1:
        return _by_split(list(classes), {folder: split or "" for folder, split in splits.items()}, inner)
    shown = ", ".join(folder.name for folder in folders[:3])
    inside = ", ".join(sorted(set.intersection(*classes.values()))[:3])
    warnings.warn(
        f"{root}: {shown} hold the same folders, {inside}, and are taken for the classes: if they are splits or folds, "
        "rename them train, val and test, or give one of them as the data",
        stacklevel=4,
    )
    return {"train": root}


def _without_repeat(folder: Path) -> Path:
    """``seg_train`` for ``seg_train/seg_train``, as archives unpacked into a folder of their name leave it."""
    inner = visible_folders(folder)
    return inner[0] if len(inner) == 1 and inner[0].name == folder.name else folder


def _split_in(name: str) -> str | None:
    """Return the split that one word of a name stands for: ``training_set``, ``seg_test``."""
    said = {_SPLIT_OF_WORD[word] for word in re.split(r"[^a-z]+", name.casefold()) if word in _SPLIT_OF_WORD}
    return said.pop() if len(said) == 1 else None


def _count_loose(folder: Path, root: Path, account: Account) -> None:
    """Images that lie in no class folder, and links to folders that are gone."""
    ours = written_names(folder)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in ours:
                continue
            shown = Path(entry.path).relative_to(root).as_posix()
            if Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                account.leave("images in no class folder", shown)
            elif entry.is_symlink() and not Path(entry.path).exists():
                account.leave("dead links", shown)


def _by_split(
    folders: list[Path], splits: dict[Path, str] | None = None, inner: dict[Path, Path] | None = None
) -> dict[str, Path]:
    """splits: of each folder, by default as its name says. inner: where the class folders lie, by default in it."""
    splits = splits or {folder: _SPLIT_OF_WORD[folder.name.casefold()] for folder in folders}
    by_split: dict[str, Path] = {}
    for split in _SPLIT_WORDS:
        same = [folder for folder in folders if splits[folder] == split]
        if len(same) > 1:
            raise DataError(f"{same[0]} and {same[1]} would both be the {split} split: keep or rename one of them")
        if same:
            by_split[split] = (inner or {}).get(same[0], same[0])
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


def _read_classes(folder: Path, root: Path, account: Account, masks: dict[str, Path]) -> dict[str, list[Path]]:
    """List images by class name; ``masks`` gets the masks among them, by the id of their image."""
    classes: dict[str, list[Path]] = {}
    for class_folder in visible_folders(folder):
        if not fits_a_line(class_folder.name) and find_images(class_folder, root, any_name=True):
            raise unfit_class(class_folder.name, root)
        images, own_masks = separate_masks(find_images(class_folder, root, account))
        account.total -= len(own_masks)
        for image, mask in own_masks.items():
            masks[image.relative_to(root).as_posix()] = mask
            account.remark("masks beside the images, which are not learned", mask.relative_to(root).as_posix())
        if images:
            classes[class_folder.name] = images
        elif class_folder.name.casefold() not in _BESIDE and not _holds_results(class_folder):
            warnings.warn(
                f"{plain_name(str(class_folder))} has no images that count: not taken as a class", stacklevel=4
            )
    return classes


def _holds_results(folder: Path) -> bool:
    """Return whether a folder holds output of cdtr: results or a run."""
    return bool(written_names(folder)) or all((folder / name).is_file() for name in _OF_A_RUN)


def _samples(root: Path, classes: dict[str, list[Path]], names: list[str]) -> tuple[Sample, ...]:
    return tuple(
        Sample(image_id=path.relative_to(root).as_posix(), path=path, label=label)
        for label, name in enumerate(names)
        for path in classes.get(name, ())
    )


def _check_not_empty(root: Path, splits: dict[str, dict[str, list[Path]]], account: Account) -> None:
    if not any(splits.values()):
        found = account.line() if account.left_out else "none"
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
