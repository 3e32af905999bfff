"""What stands before every request: who may ask, how much may come at a time, and the queue where more comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cdtr.app.access import Access
from cdtr.app.body import Body
from cdtr.app.browsers import is_foreign
from cdtr.app.limits import Limits


class Gate:
    """Refuses what may not come in, and lets uploads in one after the other, as far as ``limits.held_bytes`` go.

    hosts: names under which the server may be asked, without port, None for any. Another web site whose name is made
    to point at this machine would otherwise read the responses. access: who knows the token; None lets everybody in.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, hosts: Collection[str] | None = None, access: Access | None = None
    ) -> None:
        self.app = app
        self.limits = limits
        self.hosts = hosts
        self.access = access
        self.inside = 0
        self._queue = _Queue(limits.held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = Body(receive, headers, self.limits, self._pressed)
        reply = _after(body, send)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, body.receive, reply)
        elif scope["method"] != "POST":
            await self.app(scope, body.receive, reply)
        else:
            self.inside += 1
            try:
                size = 0 if body.whole else int(headers.get("content-length", self.limits.upload_bytes))
                async with self._queue.place(size):
                    await self.app(scope, body.receive, reply)
            finally:
                self.inside -= 1

    def _pressed(self) -> bool:
        """Whether uploads that hardly move are in the way of others."""
        return self._queue.waited_for or self.inside > self.limits.requests // 2

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = _host_name(headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            return _refuse(HTTPStatus.BAD_REQUEST, f"host {host!r}: this server is reached as {', '.join(self.hosts)}")
        if is_foreign(scope, headers):
            detail = "the request comes from a page of another web site: open this server's own page, or ask by program"
            return _refuse(HTTPStatus.FORBIDDEN, detail)
        if self.access is not None and (response := self.access.challenge(scope, headers)) is not None:
            return response
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdecimal()):
            return _refuse(HTTPStatus.BAD_REQUEST, f"content-length {length!r}: expected a number of bytes")
        if int(length) > self.limits.upload_bytes:
            return _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self.limits.too_large)
        if scope["method"] == "POST" and self.inside >= self.limits.requests:
            busy = f"the server is busy with {self.limits.requests} requests: try again in a moment"
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, busy, {"Retry-After": "1"})
        return None


class _Queue:
    """Places for so many bytes at a time, given in the order in which they were asked for to whatever fits.

    A small upload so passes large ones that wait, which would otherwise be a cheap way to keep everybody out.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waited_for(self) -> bool:
        return bool(self._waiting)

    @asynccontextmanager
    async def place(self, size: int) -> AsyncIterator[None]:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._free += size
            elif (size, turn) in self._waiting:
                self._waiting.remove((size, turn))
            self._admit()

    def _admit(self) -> None:
        for size, turn in tuple(self._waiting):
            if size <= self._free and not turn.done():
                self._waiting.remove((size, turn))
                self._free -= size
                turn.set_result(None)


def _after(body: Body, send: Send) -> Send:
    """``send`` that responds once the body is read; what would come without end ends with the connection."""

    async def send_after(message: Message) -> None:
        if message["type"] == "http.response.start":
            await body.drain()
            if not body.whole:
                MutableHeaders(scope=message)["Connection"] = "close"
        await send(message)

    return send_after


def _refuse(status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)


def _host_name(host: str) -> str:
    """The name in a Host header: ``localhost:8000`` and ``[::1]:8000`` without their ports."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()
