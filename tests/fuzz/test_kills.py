"""Killed at any moment, a writer leaves old or new and nothing that the next one does not clear away.

`CDTR_FUZZ_SECONDS=600` goes on killing for so many seconds a test.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from run_mutations import seeds
from safetensors.torch import load_file

from cdtr import files
from cdtr.files import sweep
from cdtr.runs import RunFolder
from cdtr.training.state import Position, restore_state, save_state, saved_state

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

WRITER = """
import sys
from pathlib import Path
from cdtr import files
out, way = Path(sys.argv[1]), sys.argv[2]
if way == "two renames":
    files.exchange = lambda first, second: False
print("ready", flush=True)
for number in range(10**9):
    files.write_json(out / "a.json", [number] * 20_000)
    with files.atomic_folder(out / "yolo", "data.yaml") as folder:
        for name in ("data.yaml", "1.txt", "2.txt"):
            (folder / name).write_text(f"{number}")
"""
TERMINATED = """
import signal, sys, time
from pathlib import Path
from cdtr import cli, files
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored

def work(**_):
    with files.atomic_folder(Path(sys.argv[1]) / "yolo", "data.yaml") as folder, \\
            files.atomic_file(Path(sys.argv[1]) / "a.json") as file:
        file.write(b"half")
        print("ready", flush=True)
        time.sleep(60)

cli.build_app = lambda: work
cli.main(["localize"])
"""


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(files, "_swept", set())
    for seed in seeds(4):
        with started(WRITER, tmp_path, way) as process:
            time.sleep(random.Random(seed).uniform(0, 0.3))
            process.kill()
        if way == "exchange" and sys.platform.startswith("linux") and seed:
            assert (tmp_path / "yolo").is_dir(), "there is a folder at the name at every moment"
        files._swept.clear()
        sweep(tmp_path)
        found = sorted(path.name for path in tmp_path.iterdir())
        assert set(found) <= {"a.json", "yolo"}, f"seed {seed}"
        if "a.json" in found:
            assert len(set(json.loads((tmp_path / "a.json").read_text()))) == 1, f"seed {seed}"
        if "yolo" in found:
            texts = {path.name: path.read_text() for path in (tmp_path / "yolo").iterdir()}
            assert len(texts) == 3, f"seed {seed}"
            assert len(set(texts.values())) == 1, f"seed {seed}"


def test_sigterm_cleans_up(tmp_path: Path) -> None:
    with started(TERMINATED, tmp_path) as process:
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert err == "terminated\n"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_cleans_up(tmp_path: Path) -> None:
    with started(TERMINATED, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert list(tmp_path.iterdir()) == []


def _module(step: int) -> torch.nn.Module:
    module = torch.nn.Linear(64, 64)
    with torch.no_grad():
        module.weight.fill_(float(step))
    return module


def _save_for_ever(out: str, first: int) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    module = accelerator.prepare(_module(first))
    for step in range(first, 10**9):
        with torch.no_grad():
            module.weight.fill_(float(step))
        save_state(accelerator, RunFolder(out), Position(step=step), module)


def test_states(tmp_path: Path) -> None:
    """The state that is found is whole, is of one step, and is never older than the last that was found."""
    fresh = multiprocessing.get_context("forkserver")
    fresh.set_forkserver_preload(["cdtr.training.state"])
    run, last = RunFolder(tmp_path / "run"), 0
    for seed in seeds(2):
        process = fresh.Process(target=_save_for_ever, args=(str(run.path), last + 1))
        process.start()
        deadline = time.monotonic() + 60
        while (now := _step(run)) <= last and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(random.Random(seed).uniform(0, 0.2))
        process.kill()
        process.join()
        assert now > last, "no state was saved in a minute"
        saved = saved_state(run)
        assert saved is not None
        assert saved.passed_over == (), f"seed {seed}"
        assert saved.position.step >= now, f"seed {seed}"
        weights = load_file(saved.folder / "model.safetensors")["weight"]
        assert weights.eq(float(saved.position.step)).all(), f"seed {seed}"
        last = saved.position.step
    assert len(list(run.state.glob("step-*"))) <= 4, "two that are kept, one that comes, one that goes"
    (saved.folder / "optimizer.bin").write_bytes(b"")
    (saved.folder / "model.safetensors").write_bytes(b"")
    accelerator, said = Accelerator(cpu=True), []
    accelerator.prepare(_module(0))
    position = restore_state(accelerator, run, say=said.append)
    assert position is not None
    assert position.step == last - 1
    assert len(said) == 1
    AcceleratorState._reset_state(reset_partial_state=True)


def _step(run: RunFolder) -> int:
    try:
        step: int = json.loads((run.state / "latest.json").read_text())["position"]["step"]
    except FileNotFoundError:
        return 0
    return step
