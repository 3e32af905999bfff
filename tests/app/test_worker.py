"""The model's thread: answers go to whom they belong, waiting pictures share a forward pass, failures stay apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from app_helpers import picture

from cdtr.api import Localizer
from cdtr.app import worker as worker_module
from cdtr.app.worker import Worker
from cdtr.localization.options import LocalizeOptions


class Slow:
    """A localizer that notes its calls, and waits with the first until it may go on."""

    def __init__(self, localizer: Localizer) -> None:
        self.localizer = localizer
        self.calls: list[list[str]] = []
        self.started, self.go = threading.Event(), threading.Event()

    def stream(self, items: list[tuple[str, Any]], **settings: Any) -> Iterator[Any]:
        self.calls.append([name for name, _ in items])
        self.started.set()
        assert self.go.wait(10)
        if any(name == "bad" for name, _ in items):
            raise ValueError("bad")
        return self.localizer.stream(items, **settings)


@pytest.fixture
def slow(localizer: Localizer) -> Slow:
    return Slow(localizer)


@pytest.fixture
def worker(slow: Slow) -> Iterator[Worker]:
    worker = Worker(slow, batch_size=3)  # type: ignore[arg-type]
    worker.start()
    yield worker
    slow.go.set()
    worker.close()


PLAIN = LocalizeOptions(threshold=0.4)


def test_what_waits_with_equal_settings_goes_together(worker: Worker, slow: Slow, localizer: Localizer) -> None:
    names = ["first", "a", "b", "c", "d", "e"]
    other = LocalizeOptions(threshold=0.8, label=2)
    futures = []
    for number, name in enumerate(names):
        futures.append(worker.submit(name, picture(number), other if name == "e" else PLAIN))
        assert slow.started.wait(10)
    slow.go.set()
    for number, (name, future) in enumerate(zip(names, futures, strict=True)):
        found = future.result(10)
        settings = {"threshold": 0.8, "label": 2} if name == "e" else {"threshold": 0.4}
        ((_, wanted),) = localizer.stream([(name, picture(number))], **settings)
        assert found.image_id == name
        np.testing.assert_array_equal(found.boxes_xyxy, wanted.boxes_xyxy)
        np.testing.assert_allclose(found.map, wanted.map, atol=1e-4)
    assert slow.calls == [["first"], ["a", "b", "c"], ["d"], ["e"]]


def test_one_failure_is_not_anothers(worker: Worker, slow: Slow) -> None:
    futures = [worker.submit("first", picture(), PLAIN)]
    assert slow.started.wait(10)
    futures += [worker.submit(name, picture(), PLAIN) for name in ("good", "bad", "fine")]
    slow.go.set()
    assert [futures[index].result(10).image_id for index in (0, 1, 3)] == ["first", "good", "fine"]
    with pytest.raises(ValueError, match="bad"):
        futures[2].result(10)
    assert worker.submit("after", picture(), PLAIN).result(10).image_id == "after"


def test_large_pictures_go_alone(worker: Worker, slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_BATCH_PIXELS", 90 * 60 * 2)
    futures = [worker.submit("first", picture(), PLAIN)]
    assert slow.started.wait(10)
    sizes = {"a": (90, 60), "b": (90, 60), "c": (300, 200), "d": (90, 60)}
    futures += [worker.submit(name, picture(1, size), PLAIN) for name, size in sizes.items()]
    slow.go.set()
    assert [future.result(10).image_id for future in futures] == ["first", "a", "b", "c", "d"]
    assert slow.calls[1:] == [["a", "b"], ["c"], ["d"]]


def test_who_gave_up_costs_nothing(worker: Worker, slow: Slow) -> None:
    first = worker.submit("first", picture(), PLAIN)
    assert slow.started.wait(10)
    gone, kept = worker.submit("gone", picture(), PLAIN), worker.submit("kept", picture(), PLAIN)
    assert gone.cancel()
    slow.go.set()
    assert [first.result(10).image_id, kept.result(10).image_id] == ["first", "kept"]
    assert slow.calls == [["first"], ["kept"]]


def test_closing_cancels_what_waits(localizer: Localizer) -> None:
    slow = Slow(localizer)
    worker = Worker(slow, batch_size=1)  # type: ignore[arg-type]
    worker.start()
    first = worker.submit("first", picture(), PLAIN)
    assert slow.started.wait(10)
    waiting = worker.submit("waiting", picture(), PLAIN)
    closing = threading.Thread(target=worker.close)
    closing.start()
    while not waiting.cancelled():
        closing.join(0.01)
    slow.go.set()
    closing.join(10)
    assert first.result(10).image_id == "first"
    with pytest.raises(CancelledError):
        waiting.result(1)
    assert worker.submit("late", picture(), PLAIN).cancelled()
