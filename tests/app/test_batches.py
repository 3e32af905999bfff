"""Batches: images in several requests, one download, nothing left behind."""

from __future__ import annotations

import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from app_helpers import encoded, picture
from starlette.testclient import TestClient

from cdtr.api import Localizer
from cdtr.app.limits import Limits
from cdtr.app.server import create_app
from cdtr.app.worker import Worker

Maker = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the server puts its files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def images(*numbers: int) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"some/{number}.png", encoded(picture(number)))) for number in numbers]


def open_batch(client: TestClient, formats: str = "csv") -> str:
    answer = client.post("/api/batches", data={"format": formats})
    assert answer.status_code == 201, answer.text
    return f"/api/batches/{answer.json()['batch']}"


def test_images_of_many_requests_come_in_order(client: TestClient, temporary: Path) -> None:
    batch = open_batch(client, "csv,yolo")
    for numbers in ((5, 3), (9, 1, 4, 7, 8, 6, 2, 10, 11)):
        added = client.post(f"{batch}/images", files=images(*numbers)).json()["images"]
        assert [one["image"] for one in added] == [f"some/{number}.png" for number in numbers]
        assert all(one["error"] is None and one["boxes"] == 1 for one in added)
    answer = client.get(f"{batch}/result")
    assert answer.headers["content-disposition"] == 'attachment; filename="boxes.zip"'
    rows = zipfile.ZipFile(BytesIO(answer.content)).read("boxes.csv").decode().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [f"some/{n}.png" for n in (5, 3, 9, 1, 4, 7, 8, 6, 2, 10, 11)]
    assert client.get(f"{batch}/result").content == answer.content
    late = client.post(f"{batch}/images", files=images(12))
    assert late.status_code == 409
    assert "finished" in late.json()["detail"]
    assert client.delete(batch).status_code == 204
    assert list(temporary.iterdir()) == []
    assert client.get(f"{batch}/result").status_code == 404


def test_settings_hold_for_all_of_a_batch(client: TestClient) -> None:
    answer = client.post("/api/batches", data={"format": "csv", "label": "emu"})
    batch = f"/api/batches/{answer.json()['batch']}"
    client.post(f"{batch}/images", files=images(1, 2))
    rows = client.get(f"{batch}/result").text.splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == ["emu", "emu"]


def test_bad_and_repeated_images_are_left_out(client: TestClient) -> None:
    batch = open_batch(client)
    sent = [*images(1), ("images", ("notes.txt", b"text")), ("images", ("../x.png", encoded(picture()))), *images(1)]
    errors = [one["error"] for one in client.post(f"{batch}/images", files=sent).json()["images"]]
    assert errors[0] is None
    assert [part in error for part, error in zip(("no image", "below a folder", "twice"), errors[1:], strict=True)] == [
        True
    ] * 3
    packed = zipfile.ZipFile(BytesIO(client.get(f"{batch}/result").content))
    assert packed.namelist() == [".cdtr-written.json", "boxes.csv", "left_out.csv"]
    assert len(packed.read("left_out.csv").splitlines()) == 4


def test_a_batch_that_is_removed_at_work_stops_quietly(
    make_client: Maker, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(batch_size=1)
    batch = open_batch(client)
    answer = Worker._localize
    started, go = threading.Event(), threading.Event()

    def wait(self: Worker, *arguments: object) -> bool:
        started.set()
        assert go.wait(10)
        return answer(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Worker, "_localize", wait)
    with ThreadPoolExecutor(3) as pool:
        working = pool.submit(client.post, f"{batch}/images", files=images(1, 2))
        assert started.wait(10)
        removing = pool.submit(client.delete, batch)
        batches = client.app.state.service.batches  # type: ignore[attr-defined]
        while batches.find(batch.rpartition("/")[2]) is not None:
            time.sleep(0.01)
        go.set()
        assert working.result().status_code == 200
        assert removing.result().status_code == 204
    assert list(temporary.iterdir()) == []


def test_an_empty_batch_has_no_result(client: TestClient) -> None:
    batch = open_batch(client)
    assert client.get(f"{batch}/result").status_code == 409
    assert client.get("/api/batches/guessed/result").status_code == 404
    assert client.post("/api/batches/guessed/images", files=images(1)).status_code == 404


def test_a_batch_holds_so_many_images(make_client: Maker) -> None:
    client = make_client(limits=Limits(images=3))
    batch = open_batch(client)
    assert client.post(f"{batch}/images", files=images(1, 2)).status_code == 200
    answer = client.post(f"{batch}/images", files=images(3, 4))
    assert answer.status_code == 413
    assert answer.json()["detail"] == "2 images where 1 are left of the 3 that a batch may hold"
    assert client.post("/api/export", files=images(1, 2, 3, 4)).status_code == 413


def test_only_so_many_batches_are_open(make_client: Maker, temporary: Path) -> None:
    client = make_client(limits=Limits(batches=2))
    batches = [open_batch(client), open_batch(client)]
    answer = client.post("/api/batches")
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "10"
    client.delete(batches[0])
    open_batch(client)
    assert len(list(temporary.iterdir())) == 2


def test_idle_batches_go(make_client: Maker, temporary: Path) -> None:
    client = make_client(limits=Limits(batches=1, batch_idle_s=0.05))
    batch = open_batch(client)
    time.sleep(0.1)
    open_batch(client)
    assert client.get(f"{batch}/result").status_code == 404
    assert len(list(temporary.iterdir())) == 1


def test_a_batch_that_cannot_be_opened_leaves_nothing(
    client: TestClient, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # VOC's list of classes cannot hold a colon, which shows when its writer opens.
    monkeypatch.setattr(Localizer, "class_names", ("a:b", "dog", "emu"))
    answer = client.post("/api/batches", data={"format": "csv,voc"})
    assert answer.status_code == 422
    assert "a:b" in answer.json()["detail"]
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_when_the_server_stops(localizer: Localizer, temporary: Path) -> None:
    with TestClient(create_app(localizer, "animals")) as client:
        batch = open_batch(client, "coco,yolo,masks")
        client.post(f"{batch}/images", files=images(1, 2))
        assert list(temporary.iterdir())
    assert list(temporary.iterdir()) == []
