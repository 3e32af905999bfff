"""The ordered parallel map: order, bounds, hooks and an early end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from cdtr.parallel import map_in_order


def test_results_keep_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(map_in_order(slow_first, range(20), 4, 8)) == [item * item for item in range(20)]


def test_items_are_read_no_further_ahead_than_asked() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            read.append(item)
            yield item

    found = map_in_order(lambda item: item, items(), 2, 3)
    assert next(found) == 0
    assert len(read) == 4
    found.close()
    assert len(read) == 4


def test_items_that_are_too_much_together_wait_for_each_other() -> None:
    held: list[int] = []

    def too_much(items: object) -> bool:
        sizes = list(items)  # type: ignore[call-overload]
        held.append(len(sizes))
        return len(sizes) > 2

    assert list(map_in_order(lambda item: item, range(6), 4, 50, too_much=too_much)) == list(range(6))
    assert max(held) == 3


def test_an_error_cancels_what_has_not_begun_and_calls_the_hook() -> None:
    done, closed, waited = [], threading.Event(), []

    def fail_at_two(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        done.append(item)
        return item

    with pytest.raises(ValueError, match="two"):
        list(map_in_order(fail_at_two, range(1000), 1, 4, on_wait=waited.append, on_close=closed.set))
    assert closed.is_set()
    assert waited == [0, 1, 2]
    assert len(done) < 20


def test_threads_and_pending_items_have_defaults() -> None:
    assert list(map_in_order(lambda item: -item, range(1000))) == [-item for item in range(1000)]
