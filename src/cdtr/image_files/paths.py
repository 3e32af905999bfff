"""Finding image files below a root: in natural order, no hidden files, and what is left out is counted."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from cdtr.account import Account
from cdtr.errors import DataError
from cdtr.image_files.reading import IMAGE_SUFFIXES
from cdtr.image_files.tar_members import open_file
from cdtr.image_files.written import written_names

LEAVES = "links that lead out of the folder"
_SOME_SUFFIXES = ".jpg, .png, ..."
# What archivers and disks leave in folders, in lower case.
_CLUTTER = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "#recycle", "#snapshot"}
_KNOWN_OTHERS = {".xml", ".txt", ".json", ".csv", ".yaml", ".yml", ".npy", ".mat", ".md", ".db", ".ini", ".pdf", ".tar"}
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*", b"8BPS", b"\0\0\0\x0cjP  ")
_IMAGE_BRANDS = {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"}


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts ``img9`` before ``img10``; case matters only between otherwise equal names."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts)], name


def is_inside(path: Path, root: Path) -> bool:
    """Whether a path, its symbolic links followed, lies in the root."""
    return path.resolve().is_relative_to(root.resolve())


def inside(root: Path, relative: str) -> Path:
    """Join a path that a list or annotation file names; DataError if the name leads out of the root.

    Links below the root are the user's own and may lead anywhere.
    """
    path = root / os.path.normpath(relative)
    if Path(relative).is_absolute() or ".." in path.relative_to(root).parts:
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
    """List the sub-folders in natural order, links among them.

    Hidden folders, those of archivers and disks, and results of ours are left out.
    """
    ours = written_names(folder)
    found = [entry for entry in folder.iterdir() if not _is_passed_over(entry.name, ours) and entry.is_dir()]
    return sorted(found, key=lambda entry: natural_key(entry.name))


def find_images(
    folder: Path, root: Path, account: Account | None = None, follow: bool = True, any_name: bool = False
) -> list[Path]:
    """Image files at any depth below a folder, in natural order.

    Args:
        folder: where to look.
        root: the data set's root, by which files are named.
        account: what is left out is counted there: dead links, links that make a circle, images of unknown suffix, and
            names that are not UTF-8.
        follow: links lead anywhere, as the user put them there; without it those that leave the root are left out.
        any_name: names that are not UTF-8 are kept, for callers that name each of them.
    """
    account = Account("images") if account is None else account
    if not follow and not is_inside(folder, root):
        account.leave(LEAVES, _shown(folder, root))
        return []
    images = []
    for path, is_link in walk(folder, account if follow else None, root):
        known = path.suffix.lower() in IMAGE_SUFFIXES
        if not known and not _looks_like_image(path):
            continue
        shown = _shown(path, root)
        if not known:
            account.leave(f"images without one of the suffixes {_SOME_SUFFIXES}", shown)
        elif is_link and not path.exists():
            account.leave("dead links", shown)
        elif not any_name and shown != plain_name(shown):
            account.leave("images whose names are not UTF-8", plain_name(shown))
        elif is_link and not follow and not is_inside(path, root):
            account.leave(LEAVES, shown)
        else:
            images.append(path)
    account.total += len(images)
    return sorted(images, key=lambda path: natural_key(path.as_posix()))


def require_images(folder: Path) -> list[Path]:
    """The images that ``find_images`` finds in a folder; DataError where there is none, a warning of those left out."""
    account = Account("images", str(folder))
    found = find_images(folder, folder, account, any_name=True)
    if not found:
        rest = f", found {account.line()}" if account.left_out else ""
        raise DataError(f"{folder} holds no image: expected files such as .jpg or .png at any depth{rest}")
    account.warn()
    return found


def walk(folder: Path, account: Account | None = None, root: Path | None = None) -> Iterator[tuple[Path, bool]]:
    """Yield (path, whether it is a link) of each file below a folder, dead links among them.

    Hidden files, files that archivers leave and results of ours are left out.

    With an account linked folders are entered as well, but for those that make a circle, which it counts.
    """
    yield from _walk(folder, account, root or folder, (folder.resolve(),))


def plain_name(name: str) -> str:
    """A name that can be printed: bytes that are not UTF-8 are shown by number."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def unfit_class(name: str, root: Path) -> DataError:
    """The error for a class whose name no list with one name a line can hold, see ``cdtr.text.fits_a_line``."""
    return DataError(
        f"{root}: class {name!a} has a control character, a line separator, a byte that is not UTF-8 or only blanks in "
        "its name, which a run cannot store: rename its folder"
    )


def _walk(folder: Path, account: Account | None, root: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, bool]]:
    ours = written_names(folder)
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_passed_over(entry.name, ours):
                continue
            path, is_link = Path(entry.path), entry.is_symlink()
            if entry.is_dir() and (not is_link or account is not None):
                if is_link and (real := path.resolve()) in above and account is not None:
                    account.leave("linked folders that lead back to where they lie", _shown(path, root), serious=False)
                else:
                    yield from _walk(path, account, root, (*above, real) if is_link else (*above, path.resolve()))
            elif not entry.is_dir() and (is_link or entry.is_file()):
                yield path, is_link


def _is_passed_over(name: str, ours: Collection[str]) -> bool:
    return name.startswith(".") or name.casefold() in _CLUTTER or name in ours


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _looks_like_image(path: Path) -> bool:
    """Whether a file that is not named like an image starts like one."""
    if path.suffix.lower() in _KNOWN_OTHERS:
        return False
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:  # a dead link, which nobody can tell the kind of
        return False
    return start.startswith(_IMAGE_STARTS) or start[4:12] in _IMAGE_BRANDS or start[:4] + start[8:12] == b"RIFFWEBP"
