"""Which images a user means by files, folders and patterns, and the ids that they get."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cdtr.errors import DataError
from cdtr.image_files.paths import require_images


def expand_images(arguments: Sequence[str]) -> list[tuple[str, Path]]:
    """Return the id and the path of every image, each once, in the order given.

    Folders are searched at any depth. The id is the path relative to the deepest folder that holds all that was given,
    so that images of the same name in two folders stay apart.

    Args:
        arguments: files, folders or patterns.

    Raises:
        DataError: an argument stands for no image.
    """
    paths: dict[Path, None] = {}
    folders: list[Path] = []
    for argument in arguments:
        folder, found = _expand(argument)
        folders.append(folder)
        paths.update(dict.fromkeys(Path(os.path.abspath(path)) for path in found))  # noqa: PTH100, keeps links
    base = os.path.commonpath([os.path.abspath(folder) for folder in folders])  # noqa: PTH100
    return [(path.relative_to(base).as_posix(), path) for path in paths]


def images_root(images: Sequence[tuple[str, Path]]) -> Path:
    """Return the folder that the ids of ``expand_images`` are relative to."""
    image_id, path = images[0]
    return path.parents[len(PurePosixPath(image_id).parts) - 1]


def _expand(argument: str) -> tuple[Path, list[Path]]:
    """Return the folder of an argument, and its images."""
    path = Path(argument)
    if path.is_dir():
        return path, require_images(path)
    if path.exists():
        return path.parent, [path]
    if not glob.has_magic(argument):
        raise DataError(f"no file or folder {argument}: expected an image, a folder of images, or a pattern")
    matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))  # noqa: PTH207, absolute ones too
    found = [match for match in matches if match.is_file()]
    if not found:
        raise DataError(f"no file matches {argument}: expected a pattern of images, such as 'photos/**/*.jpg'")
    return Path(os.path.commonpath([match.parent for match in found])), found
