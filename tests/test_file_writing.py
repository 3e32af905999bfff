"""Writing: old or new at every moment, what the dead leave is swept, a full disk has one name."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdtr import _system, files
from cdtr.errors import DataError
from cdtr.files import atomic_file, atomic_folder, full_disk_named, is_full_disk, is_stray, sweep, write_atomic


@pytest.fixture(autouse=True)
def _nothing_swept_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_swept", set())


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def fill(path: Path, text: str) -> None:
    with atomic_folder(path, "data.yaml") as folder:
        (folder / "data.yaml").write_text(text)


@pytest.fixture(params=["exchange", "two renames"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Folders as Linux exchanges them, and as they are moved where no system call does that."""
    if request.param == "two renames":
        monkeypatch.setattr(files, "exchange", lambda _first, _second: False)
    return str(request.param)


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path, both_ways: str) -> None:
    for text in ("first", "second", "third"):
        fill(tmp_path / "new" / "yolo", text)
        assert (tmp_path / "new" / "yolo" / "data.yaml").read_text() == text
    assert names_in(tmp_path / "new") == ["yolo"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path, both_ways: str) -> None:
    fill(tmp_path / "yolo", "old")

    def stop() -> None:
        with atomic_folder(tmp_path / "yolo", "data.yaml") as folder:
            (folder / "data.yaml").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert (tmp_path / "yolo" / "data.yaml").read_text() == "old"
    assert names_in(tmp_path) == ["yolo"]


def test_a_folder_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match=r"has no data\.yaml, so it holds something else"):
        fill(tmp_path / "yolo", "new")
    assert names_in(tmp_path / "yolo") == ["thesis.txt"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux exchanges two folders in one step")
def test_there_is_a_folder_at_the_name_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen by a second process, which looks as often as it can while the folder is replaced over and over."""
    fill(tmp_path / "yolo", "0")
    looking = (
        "import os, sys\nmissing = seen = 0\nprint('ready', flush=True)\n"
        "while not os.path.exists(sys.argv[2]):\n"
        "    missing += not os.path.exists(sys.argv[1]); seen += 1\n"
        "print(missing, seen)\n"
    )
    watched = [sys.executable, "-c", looking, str(tmp_path / "yolo" / "data.yaml"), str(tmp_path / "end")]
    monkeypatch.setattr(files, "sync_file_system", lambda _folder: None)
    with subprocess.Popen(watched, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        watcher.stdout.readline()
        for number in range(100):
            fill(tmp_path / "yolo", str(number))
        (tmp_path / "end").touch()
        missing, seen = map(int, watcher.stdout.readline().split())
    assert seen > 100
    assert missing == 0


def test_exchange_says_where_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_system, "_libc", lambda: None)
    assert not _system.exchange(tmp_path, tmp_path)
    monkeypatch.undo()
    if sys.platform.startswith("linux"):
        with pytest.raises(OSError, match="No such file"):
            _system.exchange(tmp_path / "a", tmp_path / "b")


def test_the_next_writer_sweeps_what_a_dead_process_left(tmp_path: Path, dead: int) -> None:
    host, alive = files._HOST, os.getppid()
    left = [f".model.safetensors.{dead}-{host}.tmp", f".a.b.{os.getpid()}-{host}.tmp", f".new\nline.{dead}-{host}.tmp"]
    kept = [f".model.safetensors.{alive}-{host}.tmp", f".model.safetensors.{dead}-000000.tmp", f".x.{dead}.tmp"]
    others = ["model.safetensors", ".hidden", "notes.tmp", ".tmp", f"x.{dead}-{host}.tmp"]
    for name in (*left, *kept, *others):
        (tmp_path / name).write_text("half")
    (tmp_path / f".yolo.{dead}-{host}.tmp" / "labels").mkdir(parents=True)
    write_atomic(tmp_path / "boxes.csv", "all")
    assert names_in(tmp_path) == sorted([*kept, *others, "boxes.csv"])


@pytest.mark.parametrize("host", ["", "-000000"], ids=["an earlier version", "another machine"])
def test_what_nobody_touched_for_a_day_is_swept(tmp_path: Path, dead: int, host: str) -> None:
    old = tmp_path / f".boxes.csv.{dead}{host}.tmp"
    folder = tmp_path / f".yolo.{dead}{host}.tmp"
    old.write_text("half")
    folder.mkdir()
    (folder / "fresh.txt").write_text("somebody writes here")
    ago = time.time() - 2 * 24 * 3600
    for path in (old, folder):
        os.utime(path, (ago, ago))
    sweep(tmp_path)
    assert names_in(tmp_path) == [folder.name]


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path, dead: int) -> None:
    """Killed between the two renames: nothing is at the name, the old folder is beside it."""
    aside = tmp_path / f".yolo.{dead}-{files._HOST}.old"
    aside.mkdir()
    (aside / "data.yaml").write_text("old")
    sweep(tmp_path)
    assert names_in(tmp_path) == ["yolo"]
    assert (tmp_path / "yolo" / "data.yaml").read_text() == "old"


def test_a_folder_that_was_moved_aside_goes_where_the_new_one_is(tmp_path: Path, dead: int) -> None:
    fill(tmp_path / "yolo", "new")
    (tmp_path / f".yolo.{dead}-{files._HOST}.old").mkdir()
    files._swept.clear()
    sweep(tmp_path)
    assert names_in(tmp_path) == ["yolo"]
    assert (tmp_path / "yolo" / "data.yaml").read_text() == "new"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=60))
def test_every_temporary_name_is_known_again(name: str) -> None:
    temporary = files._temporary(Path("folder") / name.strip(".") if name.strip(".") else Path("folder/x"))
    assert is_stray(temporary.name)


def test_a_long_name_leaves_room_for_its_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / ("é" * 120 + ".json")  # 245 bytes of 255
    write_atomic(target, "all")
    assert names_in(tmp_path) == [target.name]


class _RustError(Exception):
    """As safetensors raises it."""


FULL = {
    "safetensors": _RustError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "the number alone": OSError(errno.ENOSPC, "No space left on device"),
    "a used up quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
}
WORDLESS = {
    "PyTorch": RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 1024 vs 918"),
    "NumPy": OSError("4096 requested and 512 written"),
    "Pillow": OSError("encoder error -2 when writing image file"),
}


@pytest.mark.parametrize("error", FULL.values(), ids=FULL)
def test_a_full_disk_has_one_name(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(OSError, match="No space left") as found, full_disk_named(tmp_path / "model"):
        raise error
    assert found.value.errno == errno.ENOSPC
    assert found.value.filename == str(tmp_path / "model")


@pytest.mark.parametrize("error", WORDLESS.values(), ids=WORDLESS)
def test_a_full_disk_is_looked_for_where_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(type(error)) as found, full_disk_named(tmp_path / "model"):
        raise error
    assert found.value is error, "there is room, so it is something else"
    monkeypatch.setattr(files, "_has_room", lambda _folder: False)
    with pytest.raises(OSError, match="No space left") as renamed, full_disk_named(tmp_path / "model"):
        raise error
    assert renamed.value.filename == str(tmp_path / "model")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "a.jpg")
    with pytest.raises(FileNotFoundError) as found, full_disk_named(tmp_path / "model"):
        raise missing
    assert found.value.filename == "a.jpg"
    assert not is_full_disk(ValueError("shape mismatch"))


def test_a_full_disk_below_another_error_is_found() -> None:
    error = RuntimeError("state cannot be saved")
    assert not is_full_disk(error)
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_full_disk(error)


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.json", "old")

    def write() -> None:
        with atomic_file(tmp_path / "a.json") as file:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left") as found:
        write()
    assert found.value.filename == str(tmp_path / "a.json")
    assert names_in(tmp_path) == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_file_and_name_are_on_the_disk_before_a_write_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append(_name_of(number)), fsync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (order.append("rename"), replace(self, target))[1])
    write_atomic(tmp_path / "a.json", "all")
    assert order == ["file", "rename", "folder"]


def _name_of(descriptor: int) -> str:
    return "folder" if os.path.isdir(descriptor) else "file"  # noqa: PTH112
