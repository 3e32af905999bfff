"""Costs that are known beforehand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cdtr.config import load_config
from cdtr.model.backbone import Backbone, Tokens
from cdtr.model.cost import (
    MIB,
    BareBackbone,
    forward_call,
    interleaved_seconds,
    layer_multiply_adds,
    measure_costs,
    multiply_adds,
    peak_live_bytes,
)
from cdtr.model.methods import build_method


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


@pytest.mark.parametrize(("method", "layers"), [("tscam", 4.376), ("catr", 4.486), ("cdtr", 4.486)])
def test_multiply_adds_of_deit_s_are_the_papers_once_attention_is_left_out(method, layers):
    config = load_config("cub", [f"method={method}", "sba.enabled=false"])
    call = forward_call(build_method(config, 200, load_weights=False).eval(), torch.randn(1, 3, 224, 224))
    assert round(layer_multiply_adds(call) / 1e9, 3) == layers  # Table VI has 4.49
    patches, width, blocks = 14 * 14 + 1, 384, 12
    assert multiply_adds(call) - layer_multiply_adds(call) == pytest.approx(2 * blocks * patches**2 * width, rel=0.003)
    assert round((multiply_adds(call) - layer_multiply_adds(call)) / 1e9, 2) == 0.36


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
    assert costs["small"].layer_multiply_adds == costs["small"].multiply_adds == pytest.approx(64 * 64 / 1e9)
    assert costs["small"].memory == pytest.approx((64 * 64 * 4 + 64 * 4) / MIB)  # weights, and one image's answer
    assert costs["small"].ms_per_image > 0


def test_calls_are_timed_in_turns():
    order = []
    seconds = interleaved_seconds({name: lambda name=name: order.append(name) for name in "abc"}, warmup=1, rounds=2)
    assert "".join(order) == "abcbcacab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize("stem", ["patch", "cnn"])
def test_the_bare_backbone_makes_the_tokens_and_takes_no_attention(stem, tiny_config):
    changes = (
        {"stem": stem, "cnn": {"name": "resnet10t", "weights": "none", "reductions": [8]}} if stem == "cnn" else {}
    )
    backbone = build_method(tiny_config.updated(backbone=changes), 3, load_weights=False).eval().backbone
    images, bare = torch.randn(2, 3, 32, 32), BareBackbone(backbone).eval()
    with torch.no_grad():
        tokens, expected = bare(images), backbone(images)
    assert torch.equal(tokens[:, backbone.prefix_tokens :], expected.patches.flatten(2).transpose(1, 2))
    assert next(bare.parameters()) is next(backbone.parameters()), "the weights are those of the method"
    assert multiply_adds(forward_call(bare, images)) < multiply_adds(forward_call(backbone, images))


def test_the_bare_form_of_another_backbone_is_itself():
    class Doubled(Backbone):
        def forward(self, images, levels=None):
            return Tokens(2 * images, images, images)

    images = torch.randn(1, 3, 4, 4)
    assert torch.equal(BareBackbone(Doubled())(images).patches, 2 * images)
