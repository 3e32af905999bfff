"""Splits whose folders hold a folder of images a class, for the published sets that are laid out like that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cdtr.data.files import find_images, natural_key, visible_folders, warn_of_links
from cdtr.records import Sample


def read_class_folders(
    root: Path, folders: Mapping[str, Path], counts: Callable[[Path], bool] = lambda _path: True
) -> tuple[list[str], dict[str, tuple[Sample, ...]]]:
    """Names of the classes and the images of each split; links that leave the root are warned about.

    folders: by split. counts: whether a picture is an image of the set.
    """
    classes = sorted({entry.name for folder in folders.values() for entry in visible_folders(folder)}, key=natural_key)
    splits: dict[str, tuple[Sample, ...]] = {}
    linked = 0
    for split, folder in folders.items():
        samples: list[Sample] = []
        for label, name in enumerate(classes):
            paths, skipped = find_images(folder / name, root) if (folder / name).is_dir() else ([], 0)
            linked += skipped
            samples += [Sample(path.relative_to(root).as_posix(), path, label) for path in paths if counts(path)]
        splits[split] = tuple(samples)
    warn_of_links(root, linked)
    return classes, splits
