"""How many pixels may be in memory at a time: images differ a thousandfold in size, so their number says little."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from cdtr.errors import DataError


class PixelBudget:
    """Work of many threads on at most ``most`` pixels at a time, first come first served; a larger one goes alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reset()
        # A thread of the parent's holds nothing in a child, where it does not exist.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._held = 0

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until so many pixels fit the budget, and hold them."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._waiting[0] is ticket and self._fits(pixels))
            self._waiting.popleft()
            self._held += pixels
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        return not self._held or self._held + pixels <= self._most


class ReadAheadBudget:
    """Images that wait for their turn, numbered in the order of their use: at most ``most`` pixels of them.

    The one that is asked for is always admitted, or later ones that were faster would keep it out for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._held: dict[int, int] = {}
        self._wanted = -1
        self._closed = False

    def admit(self, number: int, pixels: int) -> None:
        """Wait until the image of that number may be decoded; DataError once nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._may(number, pixels))
            if self._closed:
                raise DataError("not needed any more")
            self._held[number] = pixels

    def want(self, number: int) -> None:
        """The image of that number is asked for now."""
        with self._changed:
            self._wanted = number
            self._changed.notify_all()

    def take(self, number: int) -> None:
        """The image of that number has been handed over, and is no longer held here."""
        with self._changed:
            self._held.pop(number, None)
            self._changed.notify_all()

    def close(self) -> None:
        """Let all who wait go on, so that their threads can end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _may(self, number: int, pixels: int) -> bool:
        return number == self._wanted or sum(self._held.values()) + pixels <= self._most
