"""Finding image files below a root: natural order, no hidden files, nothing from outside the root."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from cdtr.data.images import IMAGE_SUFFIXES
from cdtr.data.tar_members import open_file
from cdtr.errors import DataError


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts ``img9`` before ``img10``; case matters only between otherwise equal names."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts)], name


def is_inside(path: Path, root: Path) -> bool:
    """Whether a path, its symbolic links followed, lies in the root."""
    return path.resolve().is_relative_to(root.resolve())


def inside(root: Path, relative: str) -> Path:
    """Join a path that a list or annotation file names; DataError if it leaves the root."""
    path = root / relative
    if not is_inside(path, root):
        raise DataError(f"{root}: {relative!r} points outside the data set: expected a path below its root")
    return path


def read_lines(path: Path, strip: bool = True) -> list[str]:
    """The lines of a text file that hold something, stripped if wanted; DataError if it is not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows put a mark before the first name
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte {error.start}): expected a line per name, save it as UTF-8"
        ) from error
    # No other character ends a line: read_text has made "\n" of "\r\n" and "\r".
    return [line.strip() if strip else line for line in text.split("\n") if line.strip()]


def content_hash(path: Path) -> str | None:
    """A hash of a file's bytes that is the same for every copy of it; None where it cannot be read."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError:
        return None


def visible_folders(folder: Path) -> list[Path]:
    """Sub-folders in natural order without hidden ones; links are included."""
    found = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_dir()]
    return sorted(found, key=lambda entry: natural_key(entry.name))


def find_images(folder: Path, root: Path) -> tuple[list[Path], int]:
    """Image files at any depth below a folder in natural order, and how many links were skipped for leaving the root.

    Linked folders below ``folder`` are not entered: they may form circles.
    """
    if not is_inside(folder, root):
        return [], 1
    images: list[Path] = []
    skipped = 0
    for path, is_link in _walk(folder):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if is_link and not is_inside(path, root):
            skipped += 1
        else:
            images.append(path)
    return sorted(images, key=lambda path: natural_key(path.as_posix())), skipped


def warn_of_links(root: Path, skipped: int) -> None:
    """Say that links were passed over: what they lead to may be anywhere, and gone tomorrow."""
    if skipped:
        warnings.warn(f"{root}: {skipped} links lead out of it and are left out, copy what they lead to", stacklevel=3)


def require_images(folder: Path) -> list[Path]:
    """The images that ``find_images`` finds inside a folder; DataError where there is none, a warning of links."""
    found, skipped = find_images(folder, folder)
    if not found:
        links = f" but {skipped} links that lead out of it" if skipped else ""
        rest = ", copy what the links lead to" if skipped else ""
        raise DataError(f"{folder} holds no image{links}: expected files such as .jpg or .png at any depth{rest}")
    warn_of_links(folder, skipped)
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path), entry.is_symlink()
