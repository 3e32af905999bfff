"""The body of a request: how large it may be, how slowly it may come, and what becomes of the rest of a refused one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from cdtr.app.limits import KIB, Limits

# While others wait for a place, an upload has to come faster to keep its own.
_PRESSED_GRACE_S = 2.0
_PRESSED_RATE = 64 * KIB

_LOOK_S = 0.5  # how often a waiting upload is looked at again, as others may have come
_DRAIN_S = 5.0
_DRAIN_BODIES = 2


class Body:
    """``receive`` of a request that gives up a body which is too large, 413, or too slow, 408.

    Only the time spent waiting for the client counts, so a busy server blames nobody. pressed: whether others wait for
    a place. whole: whether nothing of the body is left to come.
    """

    def __init__(self, receive: Receive, headers: Headers, limits: Limits, pressed: Callable[[], bool]) -> None:
        self.whole = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self._receive = receive
        self._limits = limits
        self._pressed = pressed
        # Nothing was sent yet by a client that waits for the server's leave.
        self._worth_draining = headers.get("expect", "").lower() != "100-continue"
        self._read = 0
        self._waited_s = 0.0

    async def receive(self) -> Message:
        """Receive the next message of the body, within the limits of size and speed."""
        if self.whole:
            return await self._receive()
        message = await self._next(self._patience_s)
        if message is None:
            self._worth_draining = False
            detail = f"the upload came too slowly, {self._read} bytes in {self._waited_s:.0f} s: send it again"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail)
        self._worth_draining = True
        self._count(message)
        if self._read > self._limits.upload_bytes:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._limits.too_large)
        return message

    async def drain(self) -> None:
        """Read the rest of a body to nowhere, in bounds: clients that are still sending miss the response."""
        if self.whole or not self._worth_draining:
            return
        most = self._read + _DRAIN_BODIES * self._limits.upload_bytes
        self._waited_s = 0.0
        while not self.whole and self._read <= most:
            message = await self._next(lambda: _DRAIN_S)
            if message is None:
                return
            self._count(message)

    def _count(self, message: Message) -> None:
        self._read += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)

    def _patience_s(self) -> float:
        """For how many seconds a client may have been waited for, given what it has sent."""
        limits = self._limits
        grace_s, rate = limits.body_grace_s, limits.body_rate
        if self._pressed():
            grace_s, rate = min(grace_s, _PRESSED_GRACE_S), max(rate, _PRESSED_RATE)
        return min(limits.body_s, grace_s + self._read / rate)

    async def _next(self, patience_s: Callable[[], float]) -> Message | None:
        """The next message, or None where the client has been waited for too long."""
        clock = asyncio.get_running_loop().time
        waiting = asyncio.ensure_future(self._receive())
        try:
            while True:
                start = clock()
                left = patience_s() - self._waited_s
                done, _ = await asyncio.wait((waiting,), timeout=min(max(left, 0), _LOOK_S))
                self._waited_s += clock() - start
                if done:
                    return waiting.result()
                if left <= 0:
                    return None
        finally:
            waiting.cancel()
