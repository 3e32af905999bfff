"""Run folders with random weights, for tests of what only reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from cdtr.config import Config
from cdtr.model.methods import build_method, with_switches
from cdtr.runs import RunFolder


def write_untrained_run(
    path: Path, config: Config, class_names: Sequence[str], method: nn.Module | None = None
) -> RunFolder:
    """What loading a run needs: weights, settings and classes. method: by default the configured one, seed 0."""
    run, config = RunFolder(path), with_switches(config)
    run.path.mkdir(parents=True)
    if method is None:
        torch.manual_seed(0)
        method = build_method(config, len(class_names), load_weights=False)
    save_file(method.state_dict(), run.weights)
    run.config_file.write_text(config.to_yaml())
    run.classes_file.write_text("".join(f"{name}\n" for name in class_names))
    return run
