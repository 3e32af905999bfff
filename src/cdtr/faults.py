"""How a command ends that cannot go on: faults of any library in one line, warnings in one line, and SIGTERM."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO

from cdtr.errors import CdtrError
from cdtr.files import is_full_disk
from cdtr.text import printable

_OUT_OF_MEMORY = (
    "out of memory: take fewer images at a time, with `overrides=['train.accumulation=4']` or a smaller "
    "train.batch_size when training, a smaller `batch_size=` when localizing; or use `device=cpu` where a command has "
    "it"
)
_DISK_FULL = "the disk is full: free some space, or choose another `out=`"
_FILE_TOO_LARGE = "a file may not be as large as this one here: see `ulimit -f`, or choose another `out=`"
_WORKER_KILLED = (
    "a process that loads images was killed, most likely because the memory was used up: take fewer of them with "
    "`overrides=['data.workers=1']` (or 0), or smaller images; a training goes on with `resume=True`"
)


def explain(error: Exception) -> tuple[str, int]:
    """Return one line for the user, and the exit code."""
    if isinstance(error, CdtrError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if is_full_disk(error):
            return f"{where}{_DISK_FULL}", 2
        if error.errno == errno.EFBIG:
            return f"{where}{_FILE_TOO_LARGE}", 2
        return f"{where}{error.strerror or error}", 1
    if is_full_disk(error):
        return _DISK_FULL, 2
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("cdtr"):
        return f"this needs {error.name}, which is not installed: `pip install .` in cdtr's folder brings it", 2
    if _is_out_of_memory(error):
        return _OUT_OF_MEMORY, 1
    if "DataLoader worker" in str(error) and ("killed by signal" in str(error) or "exited unexpectedly" in str(error)):
        return _WORKER_KILLED, 1
    reason = f"{type(error).__name__}: {error}"
    return f"{reason} (unexpected, so a fault of cdtr; CDTR_DEBUG=1 shows where)", 1


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, by the error's name: importing PyTorch would delay every other error."""
    by_name = type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)
    return by_name or "can't allocate memory" in str(error)  # RuntimeError of PyTorch's allocator on a CPU


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning in one line, without its place in the code; takes the place of ``warnings.showwarning``."""
    if not issubclass(category, DeprecationWarning | FutureWarning | PendingDeprecationWarning):
        print(f"warning: {printable(' '.join(str(message).split()))}", file=sys.stderr)


@contextmanager
def sigterm_cleans_up() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that what was half written goes; a second one ends it at once.

    Not in one of several processes that torchrun started: it may wait for the others where no signal is heard.
    """
    if threading.current_thread() is not threading.main_thread() or "RANK" in os.environ:
        yield
        return

    def end(_number: int, _frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        print("terminated", file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
