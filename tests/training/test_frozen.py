"""A frozen transformer stays as it started; everything else learns, and the optimiser knows nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from training_helpers import quiet_console, run_training, text_of, tiny_config, weights_of, write_classes

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.errors import ConfigError
from cdtr.model.backbone import build_backbone
from cdtr.model.methods import initial_method
from cdtr.training import loop
from cdtr.training.optimiser import build_optimiser
from cdtr.training.pretrain import pretrain


@pytest.fixture
def frozen(tmp_path: Path) -> Config:
    config = tiny_config(backbone={"drop_path": 0.2}, guide={"enabled": True, "width": 32})
    start = tmp_path / "start.safetensors"
    save_file(build_backbone(config.backbone, config.data).vit.state_dict(), start)  # type: ignore[attr-defined]
    return config.updated(backbone={"weights": str(start), "frozen": True})


def test_the_transformer_stays_and_the_rest_learns(frozen: Config, tmp_path: Path) -> None:
    before = initial_method(frozen, 2).state_dict()
    run = run_training(frozen, write_classes(tmp_path / "data", images=6), tmp_path / "run")
    after = weights_of(run.path)
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not {name for name in changed if name.startswith("backbone.")}
    assert {name.partition(".")[0] for name in changed} >= {"head", "csm", "ocm", "ski", "guide", "weighting"}
    assert run.manifest()["recipe"] == "paper + guide + frozen backbone"


def test_the_optimiser_has_nothing_of_it(frozen: Config) -> None:
    method = initial_method(frozen, 2)
    known = {parameter for group in build_optimiser(method, frozen).param_groups for parameter in group["params"]}
    assert known == {weight for name, weight in method.named_parameters() if not name.startswith("backbone.")}


def test_a_training_says_what_it_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_args: object, **_kwargs: object) -> None:
        raise OSError("no connection in a test")

    config = tiny_config(backbone={"weights": "hub", "overrides": None})
    monkeypatch.setattr("timm.create_model", fetch)
    console = quiet_console()
    with pytest.raises(Exception, match="vit_tiny_patch16_224 cannot be fetched from the hub"):
        loop.train(config, load_source(write_classes(tmp_path / "data", images=4)), tmp_path / "run", False, console)
    assert "vit_tiny_patch16_224.augreg_in21k_ft_in1k on the Hugging Face hub" in text_of(console)


def test_a_student_cannot_be_frozen(frozen: Config, tmp_path: Path) -> None:
    source = load_source(write_classes(tmp_path / "data", images=2))
    with pytest.raises(ConfigError, match=r"set backbone\.frozen=false"):
        pretrain(frozen, source, tmp_path / "run")
