"""A loss or gradient that is no longer a number stops the run, names its cause, and costs nothing that was saved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_helpers import assert_same_weights, lines_of, position_of, run_training, tiny_config

from cdtr.config import Config
from cdtr.errors import TrainingError
from cdtr.model.methods.cdtr import Cdtr
from cdtr.records import Batch, ModelOutput

Break = Callable[[Cdtr, dict[str, Tensor]], dict[str, Tensor]]


def saving_config() -> Config:
    return tiny_config(train={"save_every_steps": 1, "epochs": 1})


def break_losses_at(monkeypatch: pytest.MonkeyPatch, step: int, change: Break) -> None:
    """Change what ``losses`` answers in the optimiser step of this number, counted from one."""
    losses = Cdtr.losses
    calls = 0

    def broken(self: Cdtr, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        terms = losses(self, output, batch)
        return change(self, terms) if calls == step else terms

    monkeypatch.setattr(Cdtr, "losses", broken)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("term", ["cls", "ski", "ocm_awaken"])
def test_the_term_is_named(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str, value: float
) -> None:
    break_losses_at(monkeypatch, 1, lambda _, terms: {**terms, term: terms[term] * 0 + value})
    with pytest.raises(
        TrainingError, match=rf"loss term '{term}' is not a number in step 1 \(epoch 1\).*resume.*lr="
    ) as caught:
        run_training(saving_config(), class_folder, tmp_path / "run")
    assert caught.value.exit_code == 1


def test_the_first_of_several_is_named(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change = {"ski": math.nan, "csm": math.nan}
    break_losses_at(monkeypatch, 1, lambda _, t: t | {n: t[n] * v for n, v in change.items()})
    with pytest.raises(TrainingError, match="'csm'"):
        run_training(saving_config(), class_folder, tmp_path / "run")


def test_a_total_that_overflows_is_named(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each term is a number, their weighted sum is not."""
    break_losses_at(monkeypatch, 1, lambda _, t: {name: value * 0 + 3e38 for name, value in t.items()})
    with pytest.raises(TrainingError, match="'total'"):
        run_training(saving_config(), class_folder, tmp_path / "run")


@pytest.mark.parametrize("clip_norm", [5.0, None], ids=["clipped", "not clipped"])
def test_a_gradient_is_named(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip_norm: float | None
) -> None:
    """The square root of 0 is a number and its derivative is not."""

    def change(method: Cdtr, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**terms, "cls": terms["cls"] + (method.head.weight * 0).sum().sqrt()}

    break_losses_at(monkeypatch, 3, change)
    config = saving_config().updated(train={"clip_norm": clip_norm})
    with pytest.raises(TrainingError, match="the gradient is not a number in step 3 "):
        run_training(config, class_folder, tmp_path / "run")
    assert position_of(tmp_path / "run")["step"] == 2


def test_the_state_before_is_kept_and_goes_on(class_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        break_losses_at(patch, 4, lambda _, terms: {**terms, "ski": terms["ski"] * math.nan})
        with pytest.raises(
            TrainingError,
            match=r"'ski' is not a number in step 4 .*`resume=True` and `overrides=\['train\.lr=0\.0005'\]`",
        ):
            run_training(saving_config(), class_folder, out)
    assert position_of(out)["step"] == 3
    assert not (out / "model.safetensors").exists()
    assert lines_of_file(out) == []
    run_training(saving_config(), class_folder, out, resume=True)
    run_training(saving_config(), class_folder, tmp_path / "whole")
    assert_same_weights(out, tmp_path / "whole")
    assert lines_of(out) == lines_of(tmp_path / "whole")


def lines_of_file(run: Path) -> list[Mapping[str, object]]:
    file = run / "metrics.jsonl"
    return [json.loads(text) for text in file.read_text().splitlines()] if file.is_file() else []


def test_the_second_micro_batch_counts_too(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_losses_at(monkeypatch, 2, lambda _, terms: {**terms, "cls": terms["cls"] * math.nan})
    config = saving_config().updated(train={"accumulation": 2})
    with pytest.raises(TrainingError, match="'cls' is not a number in step 1 "):
        run_training(config, class_folder, tmp_path / "run")


def test_weights_are_untouched_by_the_bad_step(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_losses_at(monkeypatch, 1, lambda _, terms: {**terms, "cls": terms["cls"] * math.nan})
    stepped: list[int] = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_, **__: stepped.append(1))
    with pytest.raises(TrainingError):
        run_training(saving_config(), class_folder, tmp_path / "run")
    assert stepped == []
