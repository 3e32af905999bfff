"""An ordered map with threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import cdtr.parallel
from cdtr.cores import core_count

Item = TypeVar("Item")
Result = TypeVar("Result")

_ITEMS_PER_THREAD = 64  # held at a time


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[Result]:
    """Map a function over items with threads; OpenCV releases the GIL.

    Args:
        function: Called for each item.
        items: Read as they are needed.
        workers: Number of threads; None to choose by the cores.

    Returns:
        The results in the order of the items. At most 64 items for each thread are held at a time.
    """
    n_threads = workers or min(8, core_count())
    return cdtr.parallel.map_in_order(function, items, n_threads, _ITEMS_PER_THREAD * n_threads)
