"""SKI against an explicit deformable convolution (section III-E)."""

import pytest
import torch

from cdtr.config import SkiConfig
from cdtr.model.ski import Ski
from oracles import model_oracles as oracle


@pytest.mark.parametrize(
    ("source", "attention"), [("csm", "scaled"), ("csm", "raw"), ("out", "raw")], ids=["paper", "raw", "official"]
)
@torch.no_grad()
def test_maps_equal_the_oracle(source, attention):
    ski = Ski(3, SkiConfig(offsets_from=source, attention=attention))
    ski.offsets.weight.mul_(4)  # offsets well beyond a pixel, some of them out of the map
    x_out, x_csm, m_ca = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), torch.rand(2, 4, 5)
    guide, moved = (x_csm, x_out) if source == "csm" else (x_out, x_csm)
    weight = torch.stack([oracle.minmax(grid) for grid in m_ca]) if attention == "scaled" else m_ca
    offsets = oracle.conv(guide * weight[:, None], ski.offsets.weight, ski.offsets.bias)
    assert offsets.abs().max() > 2
    expected = oracle.deformable_conv(moved, offsets, ski.kernel.weight)
    found = ski(x_out, x_csm, m_ca)
    torch.testing.assert_close(found.x_ski, expected, rtol=1e-4, atol=1e-4)
    driven = offsets - ski.offsets.bias[:, None, None]
    torch.testing.assert_close(found.offset_rms, driven.square().mean().sqrt(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_offsets_it_is_an_ordinary_convolution():
    ski = Ski(3, SkiConfig())
    ski.offsets.weight.zero_()
    ski.offsets.bias.zero_()
    x_out = torch.randn(1, 3, 4, 4)
    expected = oracle.conv(x_out, ski.kernel.weight)
    found = ski(x_out, torch.randn(1, 3, 4, 4), torch.rand(1, 4, 4))
    torch.testing.assert_close(found.x_ski, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_attention_pools_the_logits_where_asked():
    x_out, x_csm, m_ca = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), torch.rand(2, 4, 5)
    plain, pooled = Ski(3, SkiConfig()), Ski(3, SkiConfig(pool="attention"))
    found = plain(x_out, x_csm, m_ca)
    torch.testing.assert_close(found.logits, found.x_ski.flatten(2).mean(dim=-1))
    found, weight = pooled(x_out, x_csm, m_ca), torch.stack([oracle.minmax(grid) for grid in m_ca])
    for image in range(2):
        for label in range(3):
            weighted = (
                sum(found.x_ski[image, label, y, x] * weight[image, y, x] for y in range(4) for x in range(5))
                / weight[image].sum()
            )
            torch.testing.assert_close(found.logits[image, label], weighted, rtol=1e-3, atol=1e-5)
    constant = pooled(x_out, x_csm, torch.ones(2, 4, 5))
    torch.testing.assert_close(constant.logits, constant.x_ski.flatten(2).mean(dim=-1))


def test_the_kernel_starts_as_wide_as_the_released_one():
    """Uniform within sqrt(6 / (9 C)), the rectifier's gain of Kaiming initialisation over the fan-in."""
    weight, bound = Ski(20, SkiConfig()).kernel.weight, (6 / (9 * 20)) ** 0.5
    assert 0.98 * bound < weight.abs().max() <= bound
    torch.testing.assert_close(weight.std(), torch.tensor(bound / 3**0.5), rtol=0.05, atol=0)


def test_under_bf16_autocast_it_runs_in_float32():
    ski = Ski(3, SkiConfig())
    x_out, x_csm = torch.randn(1, 3, 4, 4).bfloat16(), torch.randn(1, 3, 4, 4).bfloat16()
    m_ca = torch.rand(1, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = ski(x_out, x_csm, m_ca)
    assert mixed.x_ski.dtype == torch.float32
    assert mixed.logits.dtype == torch.float32
    torch.testing.assert_close(mixed, ski(x_out.float(), x_csm.float(), m_ca))


def test_gradient_reaches_both_maps_and_the_attention():
    ski = Ski(3, SkiConfig())
    inputs = [torch.randn(1, 3, 4, 4), torch.randn(1, 3, 4, 4), torch.rand(1, 4, 4)]
    for tensor in inputs:
        tensor.requires_grad_()
    (ski(*inputs).x_ski * torch.randn(1, 3, 4, 4)).sum().backward()
    for name, tensor in zip(("x_out", "x_csm", "m_ca"), inputs, strict=True):
        assert tensor.grad.any(), name
