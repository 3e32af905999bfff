"""`cdtr serve` as a user starts and ends it."""

from __future__ import annotations

import json
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from serving import serve
from starlette.testclient import TestClient

from cdtr.cli import main


def ask(address: str, path: str, image: Path | None = None) -> tuple[int, bytes]:
    """Status and body; with an image, a form of it as any client sends it."""
    request = urllib.request.Request(address + path)
    if image is not None:
        field = "images" if "export" in path else "image"
        head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{image.name}"\r\n\r\n'
        request.data = head.encode() + image.read_bytes() + b"\r\n--b--\r\n"
        request.add_header("Content-Type", "multipart/form-data; boundary=b")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and stderr of a command that does not get as far as serving."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["serve", *map(str, arguments)])
    printed = capsys.readouterr()
    assert printed.out == ""
    return int(stopped.value.code or 0), printed.err


def test_real_images_are_served_and_nothing_is_kept(run: Path, shared_data: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    steel = shared_data / "neu-det"
    images = sorted((steel / "IMAGES").iterdir())
    large = tmp_path / "large.bmp"  # above what is held in memory while it comes
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (800, 900, 3), dtype=np.uint8)).save(large)
    with serve(run, "--examples", steel / "IMAGES", temporary=temporary) as (address, process):
        status, body = ask(address, "/api/localize", images[0])
        found = json.loads(body)
        assert status == 200
        assert found["width"] == 200
        assert found["height"] == 200
        assert found["image"] == images[0].name
        assert all(
            0 <= x0 < x1 <= 200 and 0 <= y0 < y1 <= 200 for x0, y0, x1, y1 in (b["xyxy"] for b in found["boxes"])
        )
        status, body = ask(address, "/api/export", images[1])
        assert status == 200
        assert json.loads(body)["images"][0]["file_name"] == images[1].name
        assert ask(address, "/api/localize", large)[0] == 200
        assert ask(address, "/api/examples/0")[1] == images[0].read_bytes()
        assert ask(address, "/")[0] == 200
        status, body = ask(address, "/api/localize", steel / "train.txt")
        assert status == 415
        assert list(json.loads(body)) == ["detail"]
        assert list(temporary.iterdir()) == []
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert rest == "stopped\n"
    assert errors == ""
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("localhost", False)])
def test_an_open_address_is_warned_of(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str, warned: bool
) -> None:
    def ask_by_another_name(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        assert sockets[0].getsockname()[0] == ("0.0.0.0" if warned else "127.0.0.1")
        with TestClient(server.config.app, base_url="http://steel.example:8000") as client:
            assert client.get("/api/run").status_code == (200 if warned else 400)

    monkeypatch.setattr(uvicorn.Server, "run", ask_by_another_name)
    with pytest.raises(SystemExit) as stopped:
        main(["serve", str(run), "--host", host, "--port", "0"])
    assert stopped.value.code == 0
    warning = f"warning: {host} is open to the network without a --token: whoever reaches it may use it\n"
    assert capsys.readouterr().err == (warning if warned else "")


@pytest.mark.parametrize(
    ("option", "variable", "warning"),
    [
        ("correct-horse-battery-staple", None, ""),
        (None, "correct-horse-battery-staple", ""),
        ("short", "unused-as-the-option-counts", "warning: a token of 5 characters may be guessed: take 16 or more\n"),
    ],
)
def test_a_token_comes_from_the_option_or_the_environment(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str | None,
    variable: str | None,
    warning: str,
) -> None:
    token = option or variable

    def ask(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        with TestClient(server.config.app, base_url="http://steel.example:8000") as client:
            assert client.get("/api/run").status_code == 401
            assert client.get("/api/run", headers={"authorization": f"Bearer {token}"}).status_code == 200

    monkeypatch.setattr(uvicorn.Server, "run", ask)
    if variable is not None:
        monkeypatch.setenv("CDTR_TOKEN", variable)
    with pytest.raises(SystemExit) as stopped:
        main(["serve", str(run), "--host", "0.0.0.0", "--port", "0", *(("--token", option) if option else ())])
    printed = capsys.readouterr()
    assert stopped.value.code == 0
    assert printed.err == warning
    assert str(token) not in printed.out


def test_a_taken_port_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, errors = refused(capsys, run, "--port", taken.getsockname()[1])
    assert code == 2
    assert "cannot listen on 127.0.0.1" in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "no.such.host.invalid"), "cannot listen on no.such.host.invalid"),
        (("--examples", "nowhere"), "no folder nowhere"),
        (("--device", "tpu9"), "no device 'tpu9'"),
        (("--threshold", "2"), "expected a number from 0"),
        (("--max-requests", "0"), "--max-requests"),
        (("--token", ""), "--token"),
        (("--token", "two words"), "expected ASCII characters without spaces"),
    ],
)
def test_bad_arguments_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, errors = refused(capsys, run, "--port", "0", *arguments)
    assert code == 2
    assert words in errors
    assert errors.count("\n") == 1


def test_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, errors = refused(capsys, tmp_path / "none", "--port", "0")
    assert code == 2, errors
    assert "no run folder" in errors


def test_the_missing_extra_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, errors = refused(capsys, run)
    assert code == 2
    assert errors == "error: `cdtr serve` needs uvicorn: pip install '.[serve]' in cdtr's folder\n"
