"""Tiny trainings, in this process or in fresh ones that can be killed or work as a group."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from training_changes import CHANGES

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.errors import CdtrError
from cdtr.runs import RunFolder
from cdtr.training import loop

COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}

# The fork server starts with the imports done and without having computed anything, so that each process is both
# fresh and quick.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["cdtr.training.loop", "cdtr.data.datasets.folder", "cdtr.model.methods.cdtr"])


def noise_image(name: str, seed: int, size: int = 40, spread: float = 60) -> Image.Image:
    """Noise around a colour."""
    pixels = np.random.default_rng(seed).normal(COLOURS[name], spread, (size, size, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_classes(root: Path, images: int, classes: tuple[str, ...] = ("green", "red"), spot: bool = False) -> Path:
    """ROOT/CLASS/N.png with ``images`` images a class, and a bright square of the class's colour in each if asked."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(images):
            image = noise_image(name, 1000 * label + number)
            if spot:
                left, top = image.width // 4, image.height // 4
                image.paste(name, (left, top, image.width - left, image.height - top))
            image.save(root / name / f"{number}.png")
    return root


def cut_jpeg(path: Path) -> None:
    """A JPEG with a sound header and half of its pixels: it breaks when it is decoded."""
    noise_image(path.parent.name, seed=77).save(path, quality=95)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def tiny_config(**changes: Any) -> Config:
    """CDTR without SBA on 32 px and a 4x4 grid; the rate is constant, so that every step counts alike."""
    config = Config().updated(
        data={"input_size": (32, 32), "resize": (36, 36), "holdout": 0.2, "workers": 0},
        backbone={
            "name": "vit_tiny_patch16_224",
            "weights": "none",
            "overrides": {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": 8},
        },
        csm={"g": 3},
        ocm={"k": 2},
        sba={"enabled": False},
        train={"epochs": 2, "batch_size": 4, "lr": 1e-3, "schedule": "constant", "warmup_epochs": 0},
    )
    return config.updated(**changes)


def quiet_console() -> Console:
    return Console(file=StringIO(), width=400)


def text_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def run_training(config: Config, root: Path, out: Path, resume: bool = False) -> RunFolder:
    return loop.train(config, load_source(root), out, resume, quiet_console())


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def lines_of(run: Path, kind: str | None = None) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if kind in {None, record["kind"]}]


def position_of(run: Path) -> dict[str, Any]:
    """The saved position; all zero before there is one."""
    pointer = run / "state" / "latest.json"
    if not pointer.is_file():
        return {"epoch": 0, "step_in_epoch": 0, "step": 0}
    position: dict[str, Any] = json.loads(pointer.read_text())["position"]
    return position


def assert_same_weights(first: Path, second: Path) -> None:
    """Bit by bit."""
    left, right = weights_of(first), weights_of(second)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def largest_difference(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    assert left.keys() == right.keys()
    return max(float((left[name].double() - right[name].double()).abs().max()) for name in left)


def train_fresh(config: Config, root: Path, out: Path, resume: bool = False, die: str = "") -> int:
    """Train in a fresh process; answers its exit code, negative for a signal. ``die``: see ``training_changes``."""
    process = FRESH.Process(target=_child, args=(config.to_yaml(), str(root), str(out), resume, die))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "the training hangs"
    return process.exitcode


def kill_when(ready: Callable[[], bool], config: Config, root: Path, out: Path) -> None:
    """Train in a fresh process with slow steps, and kill it from here as soon as ``ready``."""
    process = FRESH.Process(target=_child, args=(config.to_yaml(), str(root), str(out), False, "slow"))
    process.start()
    deadline = time.monotonic() + 60
    while not ready() and time.monotonic() < deadline and process.is_alive():
        time.sleep(0.002)
    assert process.is_alive(), "the training ended before it could be killed"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL


def train_group(
    config: Config, root: Path, out: Path, world: int = 2, resume: bool = False, die: str = ""
) -> list[Any]:
    """Train in ``world`` processes that find each other as torchrun tells them to.

    Answers one mapping a process: its ``error``, None after a good end, and the ``held_out`` image ids it validated.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers = FRESH.Queue()
    processes = [
        FRESH.Process(
            target=_member,
            args=(rank, world, port, (config.to_yaml(), str(root), str(out), resume, die), answers),
        )
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(60)
        ended = [process.exitcode for process in processes]
        found = dict(answers.get(timeout=5) for code in ended if code == 0)
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
    return [found.get(rank, {"error": f"exit code {code}", "held_out": []}) for rank, code in enumerate(ended)]


def fill_together(config: Config, root: Path, cache: Path, count: int = 2) -> list[int | None]:
    """Fill one feature store from ``count`` fresh processes that start at the same moment; their exit codes."""
    gate = FRESH.Barrier(count)
    processes = [FRESH.Process(target=_fill, args=(config.to_yaml(), root, cache, gate)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def _fill(config_yaml: str, root: Path, cache: Path, gate: Any) -> None:
    from accelerate import Accelerator

    from cdtr.config import parse_config
    from cdtr.model.methods import build_method
    from cdtr.training.feature_store import FeatureStore

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config, source = parse_config(config_yaml, "test"), load_source(root)
    method: Any = build_method(config, len(source.class_names))
    store = FeatureStore(method.cnn, config.data, cache)
    gate.wait(60)
    store.fill(source.splits["train"], config, Accelerator(cpu=True), lambda _: None)


def _child(config_yaml: str, root: str, out: str, resume: bool, change: str) -> None:
    from cdtr.config import parse_config

    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A loader's workers must be this process's own children, or they outlive it when it is killed.
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    loop.STEPS_BETWEEN_LINES = 1
    if change:
        CHANGES[change]()
    run_training(parse_config(config_yaml, "test"), Path(root), Path(out), resume)


def _member(rank: int, world: int, port: int, args: tuple[Any, ...], answers: Any) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    seen = _record_validation()
    try:
        _child(*args)
        answers.put((rank, {"error": None, "held_out": seen}))
    except CdtrError as error:
        answers.put((rank, {"error": f"{type(error).__name__}: {error}", "held_out": seen}))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _record_validation() -> list[str]:
    from cdtr.data.loader import EvalLoader

    seen: list[str] = []
    iterate = EvalLoader.__iter__

    def recording(self: Any) -> Any:
        for batch in iterate(self):
            seen.extend(sample.image_id for sample in batch.samples)
            yield batch

    EvalLoader.__iter__ = recording
    return seen
