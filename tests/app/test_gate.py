"""What stands before the requests: sizes, numbers, hosts, uploads that stall."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from app_helpers import encoded, picture
from live import connection, head, listening, read_all, read_answer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from cdtr.app.connections import TimedConnection
from cdtr.app.gate import Gate
from cdtr.app.limits import MIB, Limits
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


def test_only_what_exceeds_the_queue_is_told_to_come_back(make_client: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client(limits=Limits(requests=2))
    go, arrived = threading.Event(), threading.Semaphore(0)
    answer = Worker._localize

    def wait(self: Worker, *arguments: object) -> bool:
        arrived.release()
        assert go.wait(10)
        return answer(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "_localize", wait)
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
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["detail"].startswith("the server is busy with 2 requests")
    assert send(3) == 200


def test_fifty_clients_at_once_are_all_answered(make_client: Maker) -> None:
    client = make_client()

    def send(number: int) -> int:
        return client.post("/api/localize", files={"image": (f"{number}.png", PHOTO)}).status_code

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(send, range(100))) == {200}


class _Door:
    """An application that answers when told to, and notes in which order requests reach it."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside.append(scope["path"])
        await receive()
        await self.go.wait()
        await PlainTextResponse("done")(scope, receive, send)


def test_uploads_beyond_the_memory_wait_in_their_order() -> None:
    async def run() -> None:
        door = _Door()
        gate = Gate(door, Limits(upload_bytes=100))  # holds 1600 bytes
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"x", "more_body": False}

        def ask(number: int) -> asyncio.Task[None]:
            headers = [(b"host", b"a"), (b"content-length", b"100")]
            return asyncio.create_task(gate(_scope(str(number), headers), receive, send))

        tasks = [ask(number) for number in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert door.inside == [str(number) for number in range(16)]
        tasks.append(asyncio.create_task(gate(_scope("small", [(b"content-length", b"0")]), receive, send)))
        await asyncio.sleep(0.01)
        assert door.inside[16:] == ["small"]
        tasks[17].cancel()
        door.go.set()
        await asyncio.wait(tasks)
        door.inside.remove("small")
        assert door.inside == [str(number) for number in range(20) if number != 17]
        assert [message["status"] for message in sent if "status" in message] == [200] * 20
        assert gate.inside == 0

    asyncio.run(run())


def _reader() -> Starlette:
    async def read(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    return Starlette(routes=[Route("/", read, methods=["POST"])])


def _scope(path: str = "/", headers: list[tuple[bytes, bytes]] | None = None) -> Scope:
    chunked = [(b"transfer-encoding", b"chunked")]
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": chunked if headers is None else headers,
        "query_string": b"",
        "app": None,
    }


def _ask(gate: Gate, messages: AsyncIterator[Message]) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return await anext(messages)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(gate(_scope(), receive, send))
    return sent


async def _drops(every_s: float, number: int = 1000) -> AsyncIterator[Message]:
    for _ in range(number):
        await asyncio.sleep(every_s)
        yield {"type": "http.request", "body": b"abc", "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    "limits",
    [Limits(body_grace_s=0.1, body_rate=1e6), Limits(body_grace_s=0.1, body_rate=60), Limits(body_s=0.1)],
    ids=["stalled", "slow", "long"],
)
def test_an_upload_that_comes_too_slowly_is_given_up_however_often_a_byte_comes(limits: Limits) -> None:
    gate = Gate(_reader(), limits)
    start = time.monotonic()
    sent = _ask(gate, _drops(0.06))
    assert time.monotonic() - start < 5
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert gate.inside == 0


def test_a_slow_upload_that_comes_fast_enough_is_read() -> None:
    sent = _ask(Gate(_reader(), Limits(body_grace_s=0.05, body_rate=10)), _drops(0.05, 4))
    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b"12"


def test_slow_uploads_do_not_keep_others_out() -> None:
    """Uploads of which a byte comes now and then take all places; as others wait for one, they are soon given up."""
    gate = Gate(_reader(), Limits(body_grace_s=3600, requests=4))

    async def run() -> list[int]:
        async def ask(messages: AsyncIterator[Message]) -> int:
            sent: list[Message] = []

            async def send(message: Message) -> None:
                sent.append(message)

            await gate(_scope(), lambda: anext(messages), send)  # type: ignore[arg-type]
            return int(sent[0]["status"])

        slow = [asyncio.create_task(ask(_drops(0.2))) for _ in range(4)]
        await asyncio.sleep(0)
        assert await ask(_drops(0)) == 503
        await asyncio.wait(slow, timeout=5)
        assert await ask(_drops(0, 2)) == 200
        return [task.result() for task in slow]

    assert asyncio.run(run()) == [408] * 4


def test_an_endless_refused_body_is_not_read_on() -> None:
    limits = Limits(upload_bytes=1000)
    with listening(Gate(_reader(), limits)) as port:
        for start in (
            head("POST", "/", "Content-Length: 999999999"),
            head("POST", "/", "Transfer-Encoding: chunked"),
            head("POST", "/nowhere", "Transfer-Encoding: chunked"),
            head("GET", "/", "Transfer-Encoding: chunked"),
        ):
            with connection(port) as opened:
                opened.sendall(start)
                chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
                taken = 0
                try:
                    for _ in range(1000):
                        opened.sendall(chunk)
                        taken += len(chunk)
                except OSError:
                    pass
                assert taken < 32 * MIB  # what fits into the sockets, and no more


def test_a_refused_client_that_waits_for_leave_is_answered_at_once() -> None:
    with listening(Gate(_reader(), Limits(upload_bytes=1000))) as port, connection(port) as opened:
        opened.sendall(head("POST", "/", "Content-Length: 5000", "Expect: 100-continue"))
        opened.settimeout(2)
        answer = read_all(opened)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_a_connection_is_kept_after_a_refusal_whose_body_was_read() -> None:
    with listening(Gate(_reader(), Limits(upload_bytes=1000))) as port, connection(port) as opened:
        opened.sendall(head("POST", "/", "Content-Length: 1500") + b"x" * 1500)
        assert read_answer(opened).startswith(b"HTTP/1.1 413")
        opened.sendall(head("POST", "/", "Content-Length: 3", "Connection: close") + b"abc")
        assert read_all(opened).startswith(b"HTTP/1.1 200")


class _Hasty(TimedConnection):
    head_s = 0.3


@pytest.mark.parametrize(
    "first", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nX: "], ids=["none", "line", "half"]
)
def test_half_headers_are_closed_however_often_a_byte_comes(first: bytes) -> None:
    with listening(Gate(_reader(), Limits()), _Hasty) as port, connection(port) as opened:
        start = time.monotonic()
        opened.sendall(first)
        opened.settimeout(0.05)
        closed = False
        while not closed and time.monotonic() - start < 5:
            try:
                if first:
                    opened.sendall(b"x")
                closed = opened.recv(10) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert 0.25 < time.monotonic() - start < 3


def test_whole_headers_have_their_time_for_the_body() -> None:
    with listening(Gate(_reader(), Limits()), _Hasty) as port, connection(port) as opened:
        for number in range(2):  # the second on the same connection
            opened.sendall(head("POST", "/", "Content-Length: 4")[:-1])
            time.sleep(0.05)
            opened.sendall(b"\n" + b"ab")
            time.sleep(0.5)
            opened.sendall(b"cd")
            assert read_answer(opened).startswith(b"HTTP/1.1 200"), number
