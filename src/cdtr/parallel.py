"""One ordered parallel map with a bounded number of items in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from cdtr.cores import core_count

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 8  # where the caller does not say
_ITEMS_PER_THREAD = 64


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    ahead: int | None = None,
    *,
    too_much: Callable[[Sequence[Item]], bool] | None = None,
    on_wait: Callable[[int], None] | None = None,
    on_close: Callable[[], None] | None = None,
) -> Generator[Result, None, None]:
    """Apply a function to items in threads and yield the results in the order of the items.

    For work that releases the GIL. After an error, or when the caller stops, items that have not begun are cancelled.

    Args:
        function: runs in a thread.
        items: read from the caller's thread, at most ``ahead`` before their results are taken.
        workers: number of threads; None for one a core, up to 8.
        ahead: number of items in work, or finished and not yet taken; None for 64 a thread.
        too_much: whether so many items may not be held together; the oldest are then taken first. A single item always
            may.
        on_wait: called with the number of an item, from 0, before its result is waited for.
        on_close: called before threads are waited for at the end, so that they may give up.
    """
    n_threads = workers or min(_MOST_THREADS, core_count())
    most_pending = _ITEMS_PER_THREAD * n_threads if ahead is None else ahead
    pending: deque[tuple[Item, Future[Result]]] = deque()
    taken = 0

    def take() -> Result:
        nonlocal taken
        if on_wait is not None:
            on_wait(taken)
        taken += 1
        return pending.popleft()[1].result()

    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for item in items:
                while pending and too_much is not None and too_much([*(held for held, _ in pending), item]):
                    yield take()
                pending.append((item, pool.submit(function, item)))
                if len(pending) > most_pending:
                    yield take()
            while pending:
                yield take()
        finally:
            if on_close is not None:
                on_close()
            for _, future in pending:
                future.cancel()
