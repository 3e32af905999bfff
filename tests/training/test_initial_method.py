"""A run's start is built again as the training built it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_helpers import tiny_config, write_classes

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.model.methods import initial_method
from cdtr.training.loop import Trainer, train

GUIDED = {"guide": {"enabled": True, "width": 32}, "ocm": {"k": 2, "prior": "rarity"}}


@pytest.mark.parametrize(
    "config",
    [tiny_config(seed=5), tiny_config(method="tscam"), tiny_config(**GUIDED), tiny_config(backbone={"stem": "conv"})],
    ids=["cdtr", "tscam", "guide", "conv stem"],
)
def test_same_weights_as_the_training_starts_with(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, torch.Tensor] = {}

    def look(trainer: Trainer) -> None:
        seen.update({name: value.clone() for name, value in trainer.model.state_dict().items()})

    monkeypatch.setattr(Trainer, "run", look)
    run = train(config, load_source(write_classes(tmp_path / "data", 5)), tmp_path / "run")
    torch.manual_seed(99)
    before = torch.get_rng_state()
    rebuilt = initial_method(run.config(), 2).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers stay"
    assert rebuilt.keys() == seen.keys()
    assert all(torch.equal(rebuilt[name], seen[name]) for name in seen)
    other = initial_method(run.config().updated(seed=6), 2).state_dict()
    assert not torch.equal(other["head.weight"], rebuilt["head.weight"])
