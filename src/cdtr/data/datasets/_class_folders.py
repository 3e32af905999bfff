"""Published sets with a folder for each split and in it a folder of images for each class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cdtr.account import Account
from cdtr.image_files.paths import find_images, natural_key, visible_folders
from cdtr.records import Sample


def read_class_folders(
    root: Path, folders: Mapping[str, Path], counts: Callable[[Path], bool] = lambda _path: True
) -> tuple[list[str], dict[str, tuple[Sample, ...]]]:
    """List the classes and the images of each split; warn of files that are left out.

    Args:
        root: The folder of the data set.
        folders: The folder of each split.
        counts: Whether an image file is an image of the set, and not a mask, say.

    Returns:
        The names of the classes, and the samples by split.
    """
    classes = sorted({entry.name for folder in folders.values() for entry in visible_folders(folder)}, key=natural_key)
    splits: dict[str, tuple[Sample, ...]] = {}
    account = Account("images", str(root))
    for split, folder in folders.items():
        samples: list[Sample] = []
        for label, name in enumerate(classes):
            paths = find_images(folder / name, root, account) if (folder / name).is_dir() else []
            samples += [Sample(path.relative_to(root).as_posix(), path, label) for path in paths if counts(path)]
        splits[split] = tuple(samples)
    account.warn()
    return classes, splits
