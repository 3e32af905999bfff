"""Files inside of tar files, read where they stand: ``ROOT/train-000000.tar/00000012.jpg`` is a path like any other.

Nothing is ever unpacked to disk. Compressed tar files have no places to jump to and are not read.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from cdtr.errors import DataError

_KEPT_INDICES = 64  # of tar files, a process


def in_tar(path: Path) -> bool:
    """Whether a path is of a member of a tar file."""
    name = path.as_posix()
    return ".tar/" in name and _split(name)[0].is_file()


def open_file(path: Path) -> io.BufferedReader | io.BytesIO:
    """Open a file, or a member of a tar file, for reading; OSError where there is no such file."""
    if not in_tar(path):
        return path.open("rb")
    tar, name = _split(path.as_posix())
    offset, size = _find(tar, name)
    with tar.open("rb") as file:
        file.seek(offset)
        return io.BytesIO(file.read(size))


def file_size(path: Path) -> int:
    """In bytes; 0 for a file that is not there."""
    try:
        return _find(*_split(path.as_posix()))[1] if in_tar(path) else path.stat().st_size
    except OSError:
        return 0


def tar_of(path: Path) -> tuple[Path, str]:
    """The tar file that a path goes through, and the member's name."""
    return _split(path.as_posix())


def member_names(tar: Path) -> Iterator[str]:
    """The plain files of a tar file in its order; DataError if it is none or is cut short."""
    yield from _members(tar, *_stamp(tar))


def plain_name(name: str) -> str | None:
    """A member's name as a path below its tar file, None for one that would leave it."""
    path = PurePosixPath(name)
    return None if path.is_absolute() or ".." in path.parts or not path.parts else path.as_posix()


def _split(name: str) -> tuple[Path, str]:
    tar, _, member = name.partition(".tar/")
    return Path(f"{tar}.tar"), member


def _find(tar: Path, name: str) -> tuple[int, int]:
    members = _members(tar, *_stamp(tar))
    if name not in members:
        raise FileNotFoundError(2, "no such member of the tar file", f"{tar}/{name}")
    return members[name]


def _stamp(tar: Path) -> tuple[int, int]:
    status = tar.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=_KEPT_INDICES)
def _members(tar: Path, _size: int, _changed: int) -> dict[str, tuple[int, int]]:
    """Offset and size of each plain file by its name."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                name = plain_name(member.name)
                if member.isreg() and not member.issparse() and name is not None:
                    found[name] = member.offset_data, member.size
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{tar} cannot be read as a tar file ({error}): write it again") from error
    return found
