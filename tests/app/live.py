"""An ASGI application behind uvicorn in a thread, and raw connections to it for what no client library sends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from cdtr.app.connections import TimedConnection


@contextmanager
def listening(app: ASGIApp, protocol: type[TimedConnection] = TimedConnection) -> Iterator[int]:
    """The port of a server that ends with the context."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        server = uvicorn.Server(uvicorn.Config(app, http=protocol, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as opened:
        yield opened


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode()


def read_all(opened: socket.socket) -> bytes:
    """Whatever comes until the server closes."""
    found = b""
    while True:
        try:
            some = opened.recv(65536)
        except ConnectionResetError:
            return found
        if not some:
            return found
        found += some


def read_answer(opened: socket.socket) -> bytes:
    """One whole answer, of which the connection is kept."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += opened.recv(65536)
    start, _, body = found.partition(b"\r\n\r\n")
    lines = start.lower().split(b"\r\n")
    (length,) = (int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        body += opened.recv(65536)
    return start + b"\r\n\r\n" + body
