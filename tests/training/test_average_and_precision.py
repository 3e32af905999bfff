"""The average is what is saved and validated; bf16 trains."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from training_helpers import (
    assert_same_weights,
    largest_difference,
    lines_of,
    position_of,
    run_training,
    tiny_config,
    weights_of,
)

from cdtr.model.methods import build_method
from cdtr.training import loop
from cdtr.training.held_out import HeldOut

DECAY = 0.75


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_average_is_saved(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    """Against a plain loop over the weights after each step."""
    after_steps: list[dict[str, torch.Tensor]] = []
    step = loop.Trainer._step

    def recording(self: loop.Trainer, *args: object) -> object:
        answer = step(self, *args)
        after_steps.append({name: value.detach().clone() for name, value in self.model.state_dict().items()})
        return answer

    monkeypatch.setattr(loop.Trainer, "_step", recording)
    config = tiny_config(train={"ema_decay": DECAY, "epochs": 1, "precision": precision})
    run = run_training(config, class_folder, tmp_path / "run")
    average = after_steps[0]
    for weights in after_steps[1:]:
        average = {name: DECAY * average[name] + (1 - DECAY) * weights[name] for name in average}
    saved = {name: value for name, value in weights_of(run.path).items() if "num_batches" not in name}
    assert len(after_steps) == 6
    assert largest_difference(saved, {name: average[name] for name in saved}) < 1e-6
    assert largest_difference(saved, {name: after_steps[-1][name] for name in saved}) > 1e-4


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_average_is_validated(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """The average's head is made to say red, as 3 of the 4 held-out images are, and the model's to say green."""
    classified: list[float] = []
    validate = loop.Trainer.validate

    def opposite(self: loop.Trainer) -> HeldOut:
        with torch.no_grad():
            for model, shift in ((self.model, 100.0), (self.ema.module, -100.0)):
                model.head.weight.zero_()
                model.head.bias.copy_(torch.tensor([shift, -shift]))
        found = validate(self)
        classified.append(found.accuracy["top1_cls"])
        return found

    monkeypatch.setattr(loop.Trainer, "validate", opposite)
    config = tiny_config(train={"ema_decay": DECAY, "epochs": 1, "precision": precision})
    run_training(config, uneven(class_folder, tmp_path), tmp_path / "run")
    assert classified == [pytest.approx(75.0)]


def uneven(class_folder: Path, tmp_path: Path) -> Path:
    """5 green and 15 red images, of which 1 and 3 are held out."""
    root = tmp_path / "uneven"
    shutil.copytree(class_folder / "red", root / "red")
    (root / "green").mkdir()
    for number in range(5):
        shutil.copy(class_folder / "green" / f"{number}.png", root / "green")
    return root


def test_without_average_the_last_weights_are_saved(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last: dict[str, torch.Tensor] = {}
    step = loop.Trainer._step

    def recording(self: loop.Trainer, *args: object) -> object:
        answer = step(self, *args)
        last.update({name: value.detach().clone() for name, value in self.model.state_dict().items()})
        return answer

    monkeypatch.setattr(loop.Trainer, "_step", recording)
    run = run_training(tiny_config(train={"epochs": 1}), class_folder, tmp_path / "run")
    assert largest_difference(weights_of(run.path), last) == 0


def test_bf16_trains_with_ski(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_BETWEEN_LINES", 1)
    run = run_training(tiny_config(seed=1, train={"precision": "bf16"}), class_folder, tmp_path / "bf16")
    steps = lines_of(run.path, "step")
    assert len(steps) == 12
    assert all(math.isfinite(value) for record in steps for value in record["terms"].values())
    assert "ski" in steps[0]["terms"]
    weights = weights_of(run.path)
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float32}
    assert steps[-1]["terms"]["cls"] < steps[0]["terms"]["cls"]


def test_bf16_is_really_used(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transformer and its head compute in bfloat16, the modules on attention in float32."""
    from cdtr.model.methods.cdtr import Cdtr

    seen: dict[str, torch.dtype] = {}
    losses = Cdtr.losses

    def recording(self: Cdtr, output: object, batch: object) -> object:
        seen.update({name: value.dtype for name, value in output.aux.items()})
        return losses(self, output, batch)

    monkeypatch.setattr(Cdtr, "losses", recording)
    run_training(tiny_config(train={"precision": "bf16", "epochs": 1}), class_folder, tmp_path / "run")
    assert seen["x_out"] == torch.bfloat16
    assert {seen[name] for name in ("x_csm", "m_ocm", "x_ski")} == {torch.float32}


def test_the_saved_weights_load_into_the_method(class_folder: Path, tmp_path: Path) -> None:
    run = run_training(tiny_config(train={"epochs": 1}), class_folder, tmp_path / "run")
    method = build_method(run.config(), len(run.class_names()), load_weights=False)
    method.load_state_dict(weights_of(run.path), strict=True)
    assert run.require_trained().class_names() == ("green", "red")
    assert position_of(run.path) == {"epoch": 1, "step_in_epoch": 0, "step": 6, "sums": {}}


def test_same_seed_same_weights_other_seed_others(class_folder: Path, tmp_path: Path) -> None:
    config = tiny_config(train={"epochs": 1})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_training(config.updated(seed=seed), class_folder, tmp_path / name)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    assert largest_difference(weights_of(tmp_path / "a"), weights_of(tmp_path / "c")) > 1e-3


def test_two_precisions_in_one_process(class_folder: Path, tmp_path: Path) -> None:
    """Accelerate keeps its settings for a process; a second training may still ask for others."""
    config = tiny_config(train={"epochs": 1})
    run_training(config, class_folder, tmp_path / "a")
    run_training(config.updated(train={"precision": "bf16"}), class_folder, tmp_path / "b")
    assert (tmp_path / "b" / "model.safetensors").is_file()
