"""What stands before the requests: sizes, numbers, hosts, uploads that stall."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from app_helpers import encoded, picture
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message

from cdtr.app.gate import Gate, Limits
from cdtr.app.worker import Worker

Maker = Callable[..., TestClient]
PHOTO = encoded(picture())


def test_large_bodies_are_refused_by_their_length(make_client: Maker) -> None:
    client = make_client(limits=Limits(upload_bytes=20_000))
    answer = client.post("/api/localize", files={"image": ("a.png", b"x" * 20_001)})
    assert answer.status_code == 413
    assert answer.json()["detail"].startswith("more than 0.0190735 MiB at once")
    assert client.post("/api/localize", files={"image": ("a.png", PHOTO)}).status_code == 200


def test_large_bodies_are_refused_as_they_come(make_client: Maker) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 1000

    client = make_client(limits=Limits(upload_bytes=20_000))
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/api/localize", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert "MiB at once" in answer.json()["detail"]


def test_broken_forms_are_one_line(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/api/localize", content=b"--b\r\nnonsense", headers=headers)
    assert answer.status_code in (400, 422)
    assert isinstance(answer.json()["detail"], str)
    assert client.post("/api/localize", content=b"", headers={"content-length": "many"}).status_code == 400


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:9", 200), ("evil.example", 400), ("", 400)],
)
def test_only_known_hosts_are_answered(make_client: Maker, host: str, status: int) -> None:
    client = make_client(hosts=("localhost", "127.0.0.1", "[::1]"))
    assert client.get("/api/run", headers={"host": host}).status_code == status


def test_more_requests_than_taken_are_told_to_come_back(make_client: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client(limits=Limits(requests=2))
    go, arrived = threading.Event(), threading.Semaphore(0)
    answer = Worker._answer

    def wait(self: Worker, *arguments: object) -> bool:
        arrived.release()
        assert go.wait(10)
        return answer(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "_answer", wait)
    gate_full = threading.Event()

    def send(number: int) -> int:
        return client.post("/api/localize", files={"image": (f"{number}.png", PHOTO)}).status_code

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(send, number) for number in range(2)]
        assert arrived.acquire(timeout=10)
        service = client.app.state.service  # type: ignore[attr-defined]
        for _ in range(200):  # the second is in once it waits for the worker
            if service.worker._waiting:
                break
            gate_full.wait(0.02)
        refused = client.post("/api/localize", files={"image": ("c.png", PHOTO)})
        assert client.get("/api/run").status_code == 200  # looking is always possible
        go.set()
        assert [one.result() for one in waiting] == [200, 200]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"].startswith("the server is busy with 2 requests")
    assert send(3) == 200


def _reader() -> Starlette:
    async def read(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    return Starlette(routes=[Route("/", read, methods=["POST"])])


def _ask(gate: Gate, messages: AsyncIterator[Message]) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return await anext(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "app": None}
    asyncio.run(gate(scope, receive, send))
    return sent


def test_an_upload_that_stalls_is_given_up() -> None:
    async def some() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"abc", "more_body": True}
        await asyncio.sleep(60)

    gate = Gate(_reader(), Limits(stall_s=0.05))
    assert _ask(gate, some())[0]["status"] == 408
    assert gate.inside == 0


def test_a_slow_upload_is_not() -> None:
    async def some() -> AsyncIterator[Message]:
        for _ in range(4):
            await asyncio.sleep(0.05)
            yield {"type": "http.request", "body": b"abc", "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    sent = _ask(Gate(_reader(), Limits(stall_s=0.15)), some())
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"12")
