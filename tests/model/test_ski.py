"""SKI against an explicit deformable convolution (section III-E)."""

import pytest
import torch

from cdtr.config import SkiConfig
from cdtr.model.ski import Ski
from oracles import model_oracles as oracle


@pytest.mark.parametrize("source", ["csm", "out"], ids=["paper", "official"])
@torch.no_grad()
def test_maps_equal_the_oracle(source):
    ski = Ski(3, SkiConfig(offsets_from=source))
    ski.offsets.weight.mul_(4)  # offsets well beyond a pixel, some of them out of the map
    x_out, x_csm, m_ca = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), torch.rand(2, 4, 5)
    guide, moved = (x_csm, x_out) if source == "csm" else (x_out, x_csm)
    offsets = oracle.conv(guide * m_ca[:, None], ski.offsets.weight, ski.offsets.bias)
    assert offsets.abs().max() > 2
    expected = oracle.deformable_conv(moved, offsets, ski.kernel.weight)
    torch.testing.assert_close(ski(x_out, x_csm, m_ca), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_offsets_it_is_an_ordinary_convolution():
    ski = Ski(3, SkiConfig())
    ski.offsets.weight.zero_()
    ski.offsets.bias.zero_()
    x_out = torch.randn(1, 3, 4, 4)
    expected = oracle.conv(x_out, ski.kernel.weight)
    torch.testing.assert_close(ski(x_out, torch.randn(1, 3, 4, 4), torch.rand(1, 4, 4)), expected, rtol=1e-4, atol=1e-5)


def test_under_bf16_autocast_it_runs_in_float32():
    ski = Ski(3, SkiConfig())
    x_out, x_csm = torch.randn(1, 3, 4, 4).bfloat16(), torch.randn(1, 3, 4, 4).bfloat16()
    m_ca = torch.rand(1, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ski(x_out, x_csm, m_ca)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, ski(x_out.float(), x_csm.float(), m_ca))


def test_gradient_reaches_both_maps_and_the_attention():
    ski = Ski(3, SkiConfig())
    inputs = [torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.rand(1, 4, 4)]
    for tensor in inputs:
        tensor.requires_grad_()
    (ski(*inputs) * torch.randn(1, 3, 4, 4)).sum().backward()
    for name, tensor in zip(("x_out", "x_csm", "m_ca"), inputs, strict=True):
        assert tensor.grad.any(), name
