"""Small methods whose maps depend on everything that inference runs, and files made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from cdtr.config import Config, load_config
from cdtr.deployment.facts import Facts, run_facts
from cdtr.model.methods import build_method, with_switches
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold
from oracles.untrained_run import write_untrained_run

SETTINGS = (
    "data.input_size=[32, 48]",
    "data.workers=0",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 1, num_heads: 2}",
    "ocm.k=1",
    "sba.enabled=false",
    "guide.enabled=false",
    "ocm.prior=none",
    "data.resize=[40, 60]",
    "evaluation.view=whole",
)
CLASSES = ("cat", "dog", "emu")


def build(config: Config, classes: int = len(CLASSES)) -> nn.Module:
    """A method with random weights and batch norms that have seen something."""
    torch.manual_seed(0)
    method = build_method(config, classes, load_weights=False)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return method.eval()


@pytest.fixture(scope="session")
def make_method() -> Callable[..., nn.Module]:
    def make(*changes: str) -> nn.Module:
        return build(load_config("small", (*SETTINGS, *changes)))

    return make


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = with_switches(load_config("small", SETTINGS))
    return write_untrained_run(tmp_path_factory.mktemp("deployment") / "run", config, CLASSES, build(config))


@pytest.fixture(scope="session")
def facts(run: RunFolder) -> Facts:
    return run_facts(run, Threshold(0.4))


@pytest.fixture(scope="session")
def exported(run: RunFolder, facts: Facts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cdtr.api import load_model
    from cdtr.deployment.graph import model_bytes, onnx_model
    from cdtr.deployment.program import export_program

    file = tmp_path_factory.mktemp("exported") / "model.onnx"
    program = export_program(load_model(run.path), facts.input.size_hw)
    file.write_bytes(model_bytes(onnx_model(program), facts))
    return file
