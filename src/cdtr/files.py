"""Writing files and folders so that a kill, a power cut or a full disk leaves the old or the new, never half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from cdtr._system import exchange, sync_file_system
from cdtr._system import sync_file as sync_file
from cdtr.errors import CdtrError, DataError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# What libraries written in C++ and Rust say where they hand on no number.
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")
_PROBE = bytes(1 << 16)
_LONGEST = 200  # bytes of a name; file systems allow 255, and a temporary name is longer than its file's
_STRAY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)(?:-(?P<host>[0-9a-f]{6}))?\.(?P<kind>tmp|old)", re.DOTALL)
_ABANDONED_S = 24 * 3600.0  # after which nobody writes to a file of another machine, or of one that it does not name
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]

_in_use: set[str] = set()  # temporary paths of this process
_swept: set[str] = set()  # folders that this process has looked through


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write beside the target and rename over it, so that readers see the old or the new file, never half of one."""
    with atomic_file(path) as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def write_json(path: Path, content: Any) -> None:
    """Write a tree of plain values as an indented JSON file, atomically."""
    write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write bit by bit, which takes its place when all is written; after an error the old one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    temporary = _temporary(path)
    _in_use.add(str(temporary))
    try:
        with full_disk_named(path), temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_file(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        _in_use.discard(str(temporary))


@contextmanager
def atomic_folder(path: Path, marker: str) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of ``path`` when all is written; after an error the old one stays.

    An old folder and the new one are exchanged in one step where the system can do that (Linux). Elsewhere the old one
    is moved aside first, and ``sweep`` brings it back if the process is killed just then.

    marker: a file that every folder of this kind has. DataError for a folder in the way that lacks it, as somebody
    else's files would be lost.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise DataError(f"{path} is in the way: expected a folder of an earlier run or none, move it")
    if path.is_dir() and any(path.iterdir()) and not (path / marker).exists():
        raise DataError(f"{path} has no {marker}, so it holds something else: move it, or choose another `out=`")
    temporary = _temporary(path)
    shutil.rmtree(temporary, ignore_errors=True)
    _in_use.add(str(temporary))
    try:
        temporary.mkdir(parents=True)
        with full_disk_named(path):
            yield temporary
            sync_file_system(temporary)
        _take_place(temporary, path)
        sync_file(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        _in_use.discard(str(temporary))


def _take_place(new: Path, path: Path) -> None:
    if not path.exists():
        new.replace(path)
    elif exchange(new, path):
        shutil.rmtree(new, ignore_errors=True)  # by now the old one
    else:
        old = new.with_suffix(".old")
        _in_use.add(str(old))
        path.replace(old)
        new.replace(path)
        shutil.rmtree(old, ignore_errors=True)
        _in_use.discard(str(old))


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder, and bring back a folder that one of them had moved aside.

    Only names that this module gives are looked at: of processes that are gone from this machine, and of other
    machines (a shared disk, a container before) what nobody has touched for a day. A folder is looked through once in
    a process.
    """
    if str(folder) in _swept or not folder.is_dir():
        return
    _swept.add(str(folder))
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _STRAY.fullmatch(entry.name)
            if found is not None and _is_abandoned(Path(entry.path), found):
                _clear(Path(entry.path), folder / found["name"], moved_aside=found["kind"] == "old")


def is_stray(name: str) -> bool:
    """Whether a file's name is one that a killed process leaves behind."""
    return _STRAY.fullmatch(name) is not None


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Raise OSError with ENOSPC and ``path`` for whatever a library raises where there is no room to write it.

    Writers below Python hand on a full disk as errors of their own, some without a word of it.
    """
    try:
        yield
    except CdtrError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _FULL:
            if error.filename is None:
                error.filename = str(path)
            raise
        if is_full_disk(error) or (not isinstance(error, MemoryError) and not _has_room(path.parent)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or one that it came from, is that of a full disk or a used up quota."""
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None:
            return False
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if any(word in str(seen) for word in _FULL_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def sync_folder(folder: Path) -> None:
    """Have everything below a folder on the disk, file by file, before this returns."""
    for path in sorted(folder.rglob("*")):
        sync_file(path)
    sync_file(folder)
    sync_file(folder.parent)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _temporary(path: Path) -> Path:
    name = path.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return path.with_name(f".{name}.{os.getpid()}-{_HOST}.tmp")


def _is_abandoned(path: Path, found: re.Match[str]) -> bool:
    if str(path) in _in_use:
        return False
    pid = int(found["pid"])
    if found["host"] == _HOST:
        # A file of this very process that is not in use is of an earlier one with its number, as containers give it.
        return pid == os.getpid() or not _is_alive(pid)
    if found["host"] is None and _is_alive(pid):
        return False
    newest = max(one.lstat().st_mtime for one in (path, *path.rglob("*")))
    return newest < _now(path.parent) - _ABANDONED_S


def _now(folder: Path) -> float:
    """The time by the clock of the file system, which may be another machine's."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _clear(stray: Path, target: Path, moved_aside: bool) -> None:
    if moved_aside and not target.exists() and not target.is_symlink():
        stray.replace(target)
    elif stray.is_dir() and not stray.is_symlink():
        shutil.rmtree(stray, ignore_errors=True)
    else:
        stray.unlink(missing_ok=True)


def _has_room(folder: Path) -> bool:
    """Whether a small file can be written."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(_PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno not in _FULL
    return True
