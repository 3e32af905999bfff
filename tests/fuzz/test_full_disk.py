"""A disk that is full below every library that writes for us: one line, exit code 2, and the old file stays."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import save_file

from cdtr.faults import explain
from cdtr.files import atomic_folder, full_disk_named, write_atomic
from cdtr.runs import RunFolder
from cdtr.training.state import Position, save_state, saved_state

_BYTES = 1 << 20
_NOISE = torch.rand(1 << 19)  # 2 MiB


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_BYTES}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def _onnx(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.numpy_helper.from_array(_NOISE.numpy(), "x")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor])), str(path))


def _tofile(path: Path) -> None:
    with path.open("wb") as file:
        _NOISE.numpy().tofile(file)


def _state(path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    accelerator.prepare(torch.nn.Linear(1024, 512))
    try:
        accelerator.save_state(str(path))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


WRITERS: dict[str, Callable[[Path], object]] = {
    "safetensors": lambda path: save_file({"x": _NOISE}, path),
    "PyTorch": lambda path: torch.save(_NOISE, path),
    "NumPy": lambda path: np.save(path, _NOISE.numpy()),
    "NumPy's tofile": _tofile,
    "Pillow": lambda path: Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), "u1")).save(
        path, "PNG"
    ),
    "onnx": _onnx,
    "Accelerate": _state,
    "Python": lambda path: path.write_bytes(bytes(2 * _BYTES)),
    "write_atomic": lambda path: write_atomic(path, bytes(2 * _BYTES)),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_every_writer_ends_in_one_line(full: Path, write: Callable[[Path], object]) -> None:
    target = full / "model"
    with pytest.raises(OSError, match="No space left") as found, full_disk_named(target):
        write(target)
    assert explain(found.value) == (
        f"{target}: the disk is full: free some space, or choose another `out=`",
        2,
    )


def test_a_folder_stays_as_it_was(full: Path) -> None:
    def fill(size: int) -> None:
        with atomic_folder(full / "yolo", "data.yaml") as folder:
            (folder / "data.yaml").write_bytes(bytes(1000))
            save_file({"x": _NOISE[:size]}, folder / "model.safetensors")

    fill(1000)
    before = {path.name: path.read_bytes() for path in (full / "yolo").iterdir()}
    with pytest.raises(OSError, match="No space left"):
        fill(len(_NOISE))
    assert [path.name for path in full.iterdir()] == ["yolo"]
    assert {path.name: path.read_bytes() for path in (full / "yolo").iterdir()} == before


def test_a_training_goes_on_from_the_state_before(full: Path) -> None:
    run, accelerator = RunFolder(full / "run"), Accelerator(cpu=True)
    module = torch.nn.Linear(100, 1000)  # 0.4 MB, twice for the average
    accelerator.prepare(module)
    save_state(accelerator, run, Position(step=1), None)
    with pytest.raises(OSError, match="No space left") as found:
        save_state(accelerator, run, Position(step=2), module)
    AcceleratorState._reset_state(reset_partial_state=True)
    assert explain(found.value)[1] == 2
    assert sorted(path.name for path in run.state.iterdir()) == ["latest.json", "step-00000001"]
    saved = saved_state(run)
    assert saved is not None
    assert saved.position.step == 1
    assert saved.passed_over == ()
