"""What the operating system does for safe writing: exchange two folders in one step, and force files to the disk."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


def exchange(first: Path, second: Path) -> bool:
    """Swap two folders so that there is one at each name at every moment; False where the system cannot.

    Linux has had ``renameat2`` since 3.15; some file systems, such as NFS, refuse it.
    """
    call = getattr(_libc(), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(second))


def sync_file(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before this returns; not on systems that open no folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(descriptor)


def sync_file_system(folder: Path) -> None:
    """Have all that was written to a folder's file system on the disk: one call for thousands of files.

    Where the system has no such call, the files of the folder are synced one by one.
    """
    call = getattr(_libc(), "syncfs", None)
    if call is None:
        for path in folder.rglob("*"):
            sync_file(path)
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if call(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


@cache
def _libc() -> Any:
    """The C library of this process; None where the calls above do not exist."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None
