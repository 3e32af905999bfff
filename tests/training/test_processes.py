"""Several processes train what one process with the same global batch trains.

AdamW's eps is large here: with the usual 1e-8 it blows rounding errors up to whole steps, in weights whose gradient is
zero but for rounding (the bias of the keys).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_helpers import (
    assert_same_weights,
    cut_jpeg,
    largest_difference,
    lines_of,
    run_training,
    tiny_config,
    train_fresh,
    train_group,
    weights_of,
    write_classes,
)

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.data.sampler import epoch_order
from cdtr.data.split import hold_out
from cdtr.model.methods import build_method
from cdtr.runs import RunFolder

SMOOTH = {"eps": 1e-3, "lr": 3e-3}


def comparable_config() -> Config:
    """CSM, OCM and SKI, with batch norm whose statistics must span the processes. The 9 held-out
    images do not divide into two, and with batches of one the processes validate a different number of batches."""
    return tiny_config(train={**SMOOTH, "ema_decay": 0.8, "batch_size": 8}, evaluation={"batch_size": 1})


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 15, of which three each are held out; the objects show, so that SBA has something to prefer."""
    root = tmp_path_factory.mktemp("odd") / "data"
    return write_classes(root, images=15, classes=("blue", "green", "red"), spot=True)


@pytest.fixture(scope="module")
def one_process(odd_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one") / "run"
    assert train_fresh(comparable_config(), odd_folder, out) == 0
    return out


def assert_same_lines(left: Path, right: Path) -> None:
    first, second = lines_of(left), lines_of(right)
    assert [line.keys() for line in first] == [line.keys() for line in second]
    assert first
    for mine, other in zip(first, second, strict=True):
        for key in ("kind", "step", "epoch", "held_out"):
            assert mine.get(key) == other.get(key)
        for key in ("terms", "lambdas"):
            assert mine[key] == pytest.approx(other[key], abs=1e-4)


def assert_moved_as(run: Path, reference: Path, config: Config, tolerance: float) -> None:
    """The same weights, at a tolerance that is small beside what the training changed."""
    torch.manual_seed(config.seed)
    start = build_method(config, len((run / "classes.txt").read_text().split())).state_dict()
    learned = {name: tensor for name, tensor in weights_of(reference).items() if "num_batches" not in name}
    start = {name: tensor for name, tensor in start.items() if name in learned}
    assert largest_difference(learned, start) > 100 * tolerance
    assert largest_difference(weights_of(run), weights_of(reference)) < tolerance


def test_two_processes_equal_one(odd_folder: Path, one_process: Path, tmp_path: Path) -> None:
    answers = train_group(comparable_config(), odd_folder, tmp_path / "run")
    assert [answer["error"] for answer in answers] == [None, None]
    assert_moved_as(tmp_path / "run", one_process, comparable_config(), 1e-5)
    assert_same_lines(tmp_path / "run", one_process)


def test_two_processes_equal_one_with_the_guide(odd_folder: Path, tmp_path: Path) -> None:
    config = comparable_config().updated(guide={"enabled": True, "width": 32}, train={"epochs": 1})
    answers = train_group(config, odd_folder, tmp_path / "two")
    assert [answer["error"] for answer in answers] == [None, None]
    assert train_fresh(config, odd_folder, tmp_path / "one") == 0
    assert any(name.startswith("guide.") for name in weights_of(tmp_path / "two"))
    assert_moved_as(tmp_path / "two", tmp_path / "one", config, 1e-5)
    assert_same_lines(tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize(
    ("change", "on"), [("clip guesses on rank 1", True), ("no clip on rank 0", False)], ids=["on", "off"]
)
def test_the_main_process_decides_on_sba(odd_folder: Path, tmp_path: Path, change: str, on: bool) -> None:
    config = comparable_config().updated(sba={"enabled": "auto", "model": str(tmp_path)}, train={"epochs": 1})
    answers = train_group(config, odd_folder, tmp_path / "run", die=change)
    assert [answer["error"] for answer in answers] == [None, None]
    assert RunFolder(tmp_path / "run").config().sba.enabled is on
    assert ("sba" in lines_of(tmp_path / "run", "epoch")[0]["terms"]) is on


@pytest.mark.parametrize(
    ("change", "enabled"), [("no clip on rank 1", "auto"), ("no clip on rank 0", True)], ids=["other", "main"]
)
def test_a_process_that_must_have_clip_stops_all(
    odd_folder: Path, tmp_path: Path, change: str, enabled: str | bool
) -> None:
    config = comparable_config().updated(sba={"enabled": enabled, "model": str(tmp_path)})
    answers = train_group(config, odd_folder, tmp_path / "run", die=change)
    assert [answer["error"] for answer in answers] == [f"CheckpointError: process {change[-1]} has no CLIP"] * 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ema_decay", [0.8, None], ids=["average", "no average"])
def test_each_held_out_image_is_validated_once(odd_folder: Path, tmp_path: Path, ema_decay: float | None) -> None:
    """Without an average the model that is validated is the one whose buffers the processes share."""
    config = comparable_config().updated(train={"epochs": 1, "ema_decay": ema_decay})
    answers = train_group(config, odd_folder, tmp_path / "run")
    assert [len(answer["held_out"]) for answer in answers] == [5, 4]
    seen = sorted(name for answer in answers for name in answer["held_out"])
    held_out = hold_out(load_source(odd_folder).splits["train"], 0.2, 0)[1]
    assert seen == sorted(sample.image_id for sample in held_out)
    (epoch,) = lines_of(tmp_path / "run", "epoch")
    assert min(abs(epoch["held_out"]["top1_cls"] - 100 * right / 9) for right in range(10)) < 1e-3


@pytest.mark.parametrize("ema_decay", [0.8, None], ids=["average", "no average"])
def test_a_process_may_have_nothing_to_validate(tmp_path: Path, ema_decay: float | None) -> None:
    """One image is held out, since a class of a single image keeps it for training."""
    root = write_classes(tmp_path / "data", images=8)
    for number in range(1, 8):
        (root / "red" / f"{number}.png").unlink()
    config = tiny_config(data={"holdout": 0.1}, train={**SMOOTH, "batch_size": 4, "ema_decay": ema_decay})
    answers = train_group(config, root, tmp_path / "two")
    assert [(answer["error"], len(answer["held_out"])) for answer in answers] == [(None, 2), (None, 0)]
    assert train_fresh(config, root, tmp_path / "one") == 0
    assert_same_lines(tmp_path / "two", tmp_path / "one")


def test_killed_group_resumes_to_the_same_weights(odd_folder: Path, tmp_path: Path) -> None:
    """Drop path and the average make each process's own random state count."""
    config = comparable_config().updated(backbone={"drop_path": 0.3}, train={"save_every_steps": 2})
    train_group(config, odd_folder, tmp_path / "whole")
    assert random_state(tmp_path / "whole", 0) != random_state(tmp_path / "whole", 1)
    killed = train_group(config, odd_folder, tmp_path / "run", die="after a step that no state has")
    assert [answer["error"] for answer in killed] == ["exit code -9"] * 2
    answers = train_group(config, odd_folder, tmp_path / "run", resume=True)
    assert [answer["error"] for answer in answers] == [None, None]
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    assert lines_of(tmp_path / "run") == lines_of(tmp_path / "whole")


def random_state(run: Path, rank: int) -> list[int]:
    file = max(run.glob(f"state/step-*/random_states_{rank}.pkl"))
    state: torch.Tensor = torch.load(file, weights_only=False)["torch_manual_seed"]
    return state.tolist()


def test_another_number_of_processes_cannot_resume(odd_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train_fresh(comparable_config(), odd_folder, out, die="before the weights are written") == -signal.SIGKILL
    answers = train_group(comparable_config(), odd_folder, out, resume=True)
    for answer in answers:
        assert "was trained by 1 processes, now there are 2" in answer["error"]


def test_one_process_with_a_bad_number_stops_both(odd_folder: Path, tmp_path: Path) -> None:
    answers = train_group(comparable_config(), odd_folder, tmp_path / "run", die="nan on rank 1")
    for answer in answers:
        assert answer["error"].startswith("TrainingError: the loss term 'csm' is not a number in step 1 ")


def test_images_that_break_in_any_process_are_reported(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "data", images=6)
    names = ["green/6.jpg", "red/6.jpg"]
    for name in names:
        cut_jpeg(root / name)
    # A seed with which each process meets one of the two, numbers 6 and 13 of the 14 images.
    orders = {seed: epoch_order(14, 1, seed, 0) for seed in range(20)}
    seed = next(seed for seed, order in orders.items() if (order.index(6) < 7) != (order.index(13) < 7))
    config = tiny_config(seed=seed, train={"epochs": 1, "batch_size": 14}, data={"holdout": 0})
    answers = train_group(config, root, tmp_path / "run")
    assert [answer["error"] for answer in answers] == [None, None]
    assert sorted(json.loads((tmp_path / "run" / "manifest.json").read_text())["broken_images"]) == names


def test_accumulated_batches_equal_one_batch(class_folder: Path, tmp_path: Path) -> None:
    """TS-CAM, since batch norm's statistics are those of a micro-batch."""
    config = tiny_config(method="tscam", train={**SMOOTH, "epochs": 1, "batch_size": 8})
    run_training(config, class_folder, tmp_path / "one")
    for parts in (2, 4):
        out = tmp_path / f"{parts}"
        run_training(config.updated(train={"accumulation": parts}), class_folder, out)
        assert_moved_as(out, tmp_path / "one", config, 1e-6)
        assert_same_lines(out, tmp_path / "one")


def test_two_processes_that_accumulate_equal_one(class_folder: Path, tmp_path: Path) -> None:
    config = tiny_config(method="tscam", train={**SMOOTH, "epochs": 1, "batch_size": 8})
    run_training(config, class_folder, tmp_path / "one")
    answers = train_group(config.updated(train={"accumulation": 2}), class_folder, tmp_path / "four")
    assert [answer["error"] for answer in answers] == [None, None]
    assert_moved_as(tmp_path / "four", tmp_path / "one", config, 1e-6)


SCRIPT = """
import sys
from pathlib import Path
from cdtr.config import load_config
from cdtr.data.datasets import load_source
from cdtr.training.loop import train

train(load_config(sys.argv[1]), load_source(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.slow
def test_torchrun_equals_one_process(odd_folder: Path, one_process: Path, tmp_path: Path) -> None:
    """The same through torch's own launcher, as a user starts it."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "config.yaml").write_text(comparable_config().to_yaml())
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    arguments = [str(p) for p in (tmp_path / "script.py", tmp_path / "config.yaml", odd_folder, tmp_path / "run")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *arguments], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_moved_as(tmp_path / "run", one_process, comparable_config(), 1e-5)
    assert done.stderr.count("epoch 1/2") == 1, "only the main process speaks"
