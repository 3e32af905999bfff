"""What stands before every request: limits on size and number, names of hosts, headers against mischief."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIB = 2**20

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger's page has its script and styles inside.
_DOCS_POLICY = "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on.

    upload_bytes: of one request. pixels: of one image. images: in one batch or request. requests: answered at a time.
    batches: open at a time, each closed after ``batch_idle_s`` seconds without a request. stall_s: seconds without a
    byte after which an upload is given up.
    """

    upload_bytes: int = 32 * MIB
    pixels: int = 25_000_000
    images: int = 2000
    requests: int = 16
    batches: int = 8
    batch_idle_s: float = 600.0
    stall_s: float = 30.0


class Gate:
    """Lets in at most ``limits.requests`` uploads, none of more than ``limits.upload_bytes``; others get 503 or 413.

    hosts: names under which the server may be asked, without port, None for any. Another web site whose name is made
    to point at this machine would otherwise read the answers.
    """

    def __init__(self, app: ASGIApp, limits: Limits, hosts: Collection[str] | None = None) -> None:
        self.app = app
        self.limits = limits
        self.hosts = hosts
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            await _drain(receive, self.limits)
            await refusal(scope, receive, send)
            return
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        self.inside += 1
        try:
            await self.app(scope, _limited(receive, self.limits), send)
        finally:
            self.inside -= 1

    def _refusal(self, method: str, headers: Headers) -> JSONResponse | None:
        host = _host_name(headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            return _refuse(HTTPStatus.BAD_REQUEST, f"host {host!r}: this server answers to {', '.join(self.hosts)}")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return _refuse(HTTPStatus.BAD_REQUEST, f"content-length {length!r}: expected a number of bytes")
        if int(length) > self.limits.upload_bytes:
            return _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(self.limits))
        if method == "POST" and self.inside >= self.limits.requests:
            busy = f"the server is busy with {self.limits.requests} requests: try again in a moment"
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, busy, {"Retry-After": "1"})
        return None


class SecurityHeaders:
    """Tells browsers to load nothing from elsewhere, to guess no types, and to keep no answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                policy = _DOCS_POLICY if scope["path"].startswith("/docs") else _PAGE_POLICY
                headers["Content-Security-Policy"] = policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/api") else "no-cache")
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _limited(receive: Receive, limits: Limits) -> Receive:
    """``receive`` that gives up a body which is too large or has stalled."""
    read, whole = 0, False

    async def receive_some() -> Message:
        nonlocal read, whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), limits.stall_s)
        except TimeoutError:
            detail = f"no byte came for {limits.stall_s:g} s: send the image again"
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from None
        read += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if read > limits.upload_bytes:
            if not whole:
                await _drain(receive, limits)
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limits))
        return message

    return receive_some


async def _drain(receive: Receive, limits: Limits) -> None:
    """Read the rest of a refused body to nowhere, in bounds: clients that are still sending miss the answer."""
    left = 8 * limits.upload_bytes
    try:
        async with asyncio.timeout(limits.stall_s):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _refuse(status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)


def _too_large(limits: Limits) -> str:
    return f"more than {limits.upload_bytes / MIB:g} MiB at once: send a smaller file, or fewer at a time"


def _host_name(host: str) -> str:
    """The name in a Host header: ``localhost:8000`` and ``[::1]:8000`` without their ports."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()
