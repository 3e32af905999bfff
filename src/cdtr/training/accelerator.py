"""Accelerate as a training needs it."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from cdtr.errors import ConfigError
from cdtr.records import Method


def make_accelerator(precision: str) -> Accelerator:
    """Accelerate keeps the first precision of a process and refuses another: forget it, but not the process group."""
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError("train.precision fp16 needs a GPU, found none: use bf16 or no")
    if AcceleratorState._shared_state.get("_mixed_precision", precision) != precision:
        AcceleratorState._reset_state()
    return Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())


def bare_method(accelerator: Accelerator, model: nn.Module) -> Method:
    """The method inside the wrapper that averages gradients between processes."""
    method: Method = accelerator.unwrap_model(model, keep_fp32_wrapper=True)
    return method
