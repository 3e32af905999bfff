"""What a training step is said to cost."""

from __future__ import annotations

import torch

from cdtr.config import load_config
from cdtr.training.estimate import step_cost

TINY = {
    "data": {"input_size": [64, 64]},
    "backbone": {"overrides": {"embed_dim": 48, "depth": 2, "num_heads": 2}},
    "ocm": {"k": 2},
}


def test_each_part_adds_to_the_cost():
    device = torch.device("cpu")
    config = load_config("small", changes=TINY)
    plain = step_cost(config.updated(method="tscam"), 6, False, device)
    ski = step_cost(config.updated(sba={"enabled": False}), 6, False, device)
    with_clip = step_cost(config, 6, True, device)
    assert 0 < plain.multiply_adds < ski.multiply_adds < with_clip.multiply_adds
    assert min(plain.seconds, ski.seconds, with_clip.seconds) > 0


def test_a_larger_image_costs_more():
    device = torch.device("cpu")
    config = load_config("small", changes=TINY).updated(method="tscam")
    large = step_cost(config.updated(data={"input_size": [128, 128]}), 6, False, device)
    assert large.multiply_adds > 3.5 * step_cost(config, 6, False, device).multiply_adds
