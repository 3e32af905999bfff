"""A small method on a CNN, and a batch that it can learn, for the tests of these methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from cdtr.config import Config
from cdtr.model.methods import build_method
from cdtr.records import Batch, Method, Sample

SIZE = 64
# A section of each method's settings that is small enough for a test, or lets every term count at once.
SMALL: dict[str, dict[str, Any]] = {
    "acol": {"acol": {"width": 16}},
    "bridge": {"bridge": {"start": 0}},
    "mff": {"mff": {"width": 16, "fuse": "sum"}},
    "spa": {"spa": {"min_classes": 2, "start": 0}},
}


def small_config(method: str, name: str = "test_resnet", **changes: Any) -> Config:
    """The settings of a method on a small CNN with random weights."""
    config = Config().updated(
        method=method,
        data={"input_size": (SIZE, SIZE), "resize": (SIZE, SIZE), "workers": 0},
        backbone={"name": name, "weights": "none", "output_stride": 8},
        **SMALL.get(method, {}),
    )
    return config.updated(**changes)


def small_method(method: str, classes: int = 3, name: str = "test_resnet", **changes: Any) -> Method:
    """A method on a small CNN with random weights."""
    torch.manual_seed(0)
    return build_method(small_config(method, name, **changes), classes)


def batch_of(count: int = 6, classes: int = 3) -> Batch:
    """Noise that is brighter the higher the label."""
    labels = torch.arange(count) % classes
    noise = torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    samples = tuple(Sample(f"{i}.png", Path(f"{i}.png"), int(label)) for i, label in enumerate(labels))
    return Batch(noise + labels[:, None, None, None] / 2, labels, samples, ((SIZE, SIZE),) * count)
