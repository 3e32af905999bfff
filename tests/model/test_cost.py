"""Costs that are known beforehand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cdtr.model.cost import MIB, forward_call, interleaved_seconds, measure_costs, multiply_adds, peak_live_bytes


def test_multiply_adds_of_a_convolution_forward_and_back():
    layer, image = nn.Conv2d(3, 8, 3, padding=1), torch.randn(1, 3, 16, 16)
    once = 16 * 16 * 8 * 3 * 9
    assert multiply_adds(forward_call(layer, image)) == once
    image.requires_grad_()
    assert multiply_adds(lambda: layer(image).sum().backward()) == 3 * once  # and to the weights and to the image


def test_multiply_adds_of_attention_are_seen_through_the_fused_kernel():
    query = torch.randn(1, 2, 10, 4)
    count = multiply_adds(lambda: nn.functional.scaled_dot_product_attention(query, query, query))
    assert count == 2 * (2 * 10 * 10 * 4)


def test_peak_memory_is_of_what_lives_at_once():
    def three_then_two():
        first = torch.empty(3 * MIB, dtype=torch.uint8)
        del first
        torch.empty(2 * MIB, dtype=torch.uint8)

    assert peak_live_bytes(three_then_two) == 3 * MIB


def test_costs_of_two_models():
    small, large = nn.Linear(64, 64, bias=False), nn.Linear(64, 64 * 8, bias=False)
    costs = measure_costs({"small": small, "large": large}, torch.randn(4, 64), rounds=2)
    assert costs["large"].parameters == pytest.approx(8 * costs["small"].parameters) == pytest.approx(64 * 512 / 1e6)
    assert costs["small"].multiply_adds == pytest.approx(64 * 64 / 1e9)
    assert costs["small"].memory == pytest.approx((64 * 64 * 4 + 64 * 4) / MIB)  # weights, and one image's answer
    assert costs["small"].ms_per_image > 0


def test_calls_are_timed_in_turns():
    order = []
    seconds = interleaved_seconds({name: lambda name=name: order.append(name) for name in "abc"}, warmup=1, rounds=2)
    assert "".join(order) == "abcbcacab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2, "c": 2}
