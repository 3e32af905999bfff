"""The cores of this machine, and how many threads each of several workers gets."""

from __future__ import annotations

import os


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(workers: int) -> int:
    """An equal share of the cores, at least one."""
    return max(core_count() // workers, 1)
