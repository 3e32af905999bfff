"""Images sorted into class folders: ROOT/CLASS/... or ROOT/train|val|test/CLASS/..., without annotations.

Images may lie at any depth below their class. A class folder without images is no class: it is warned about and left
out, and an error only if no images remain. Hidden files are ignored; links that leave the root are skipped.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from cdtr.data.files import find_images, natural_key, visible_folders
from cdtr.data.images import IMAGE_SUFFIXES
from cdtr.errors import DataError
from cdtr.records import Annotation, DataSource, Sample

_SPLITS = ("train", "val", "test")


def recognises(root: Path) -> bool:
    """Any folder with sub-folders may be one."""
    return bool(visible_folders(root))


def load(root: Path) -> DataSource:
    splits, linked = {}, 0
    for split, folder in _split_folders(root).items():
        splits[split], skipped = _read_classes(folder, root)
        linked += skipped
    _check_not_empty(root, splits, linked)
    names = sorted({name for classes in splits.values() for name in classes}, key=natural_key)
    _check_known(root, splits)
    return DataSource(
        name="folder",
        root=root,
        class_names=tuple(names),
        splits={split: _samples(root, classes, names) for split, classes in splits.items()},
        annotated=False,
        annotate=_no_annotation,
    )


def _no_annotation(_sample: Sample) -> Annotation | None:
    return None


def _split_folders(root: Path) -> dict[str, Path]:
    """Which folders hold the class folders, by split.

    A split folder has class folders and no images of its own. One alone counts only if it has no siblings with
    images, so that classes named train (the vehicle) or test stay classes.
    """
    found = {split: root / split for split in _SPLITS if _has_class_folders(root / split)}
    others = [folder for folder in visible_folders(root) if folder.name not in found]
    if len(found) >= 2 or (found and not any(find_images(folder, root)[0] for folder in others)):
        return found
    return {"train": root}


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
        else:
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


def _check_known(root: Path, splits: dict[str, dict[str, list[Path]]]) -> None:
    if not splits.get("train"):
        return
    for split, classes in splits.items():
        unknown = sorted(set(classes) - set(splits["train"]), key=natural_key)
        if unknown:
            raise DataError(
                f"{root / split} has classes that {root / 'train'} lacks: {', '.join(unknown[:5])}: "
                "name the folders alike, or add training images"
            )
