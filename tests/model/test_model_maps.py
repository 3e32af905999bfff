"""Scaling maps, the mean attention of Eq. 5 and global average pooling."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cdtr.model.maps import attention_agreement, mean_attention, pooled_logits, scale_maps
from cdtr.records import ModelOutput
from oracles import model_oracles as oracle

FLOATS = st.floats(-1e3, 1e3, width=32, allow_nan=False)


@given(arrays("float32", st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)), elements=FLOATS))
def test_scaled_maps_stay_in_the_unit_interval_and_keep_their_order(values):
    maps = torch.from_numpy(values.copy())
    scaled = scale_maps(maps)
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    for before, after in zip(maps, scaled, strict=True):
        in_order = after.flatten()[before.flatten().argsort(stable=True)]
        assert (in_order.diff() >= 0).all()
        if before.max() - before.min() > 1e-6:
            assert after.min() == 0
            assert after.max() == pytest.approx(1)


def test_scaled_maps_equal_the_oracle_for_every_leading_shape():
    maps = torch.randn(2, 3, 4, 5)
    scaled = scale_maps(maps)
    for image in range(2):
        for channel in range(3):
            torch.testing.assert_close(scaled[image, channel], oracle.minmax(maps[image, channel]))


@pytest.mark.parametrize("value", [0.0, 1 / 196, -7.0, 1e6], ids=["zero", "uniform", "negative", "large"])
def test_a_constant_map_becomes_zeros_without_a_gradient(value):
    maps = torch.full((1, 3, 3), value, requires_grad=True)
    scaled = scale_maps(maps)
    assert torch.equal(scaled, torch.zeros(1, 3, 3))
    (scaled * torch.arange(9.0).reshape(1, 3, 3)).sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


def test_the_gradient_passes_the_extremes_too():
    maps = torch.rand(3, 3, dtype=torch.float64)
    weights = torch.randn(3, 3, dtype=torch.float64)
    expected = oracle.numeric_gradient(lambda m: float((oracle_scaled(m) * weights).sum()), maps, 1e-6)
    leaf = maps.clone().requires_grad_()
    (scale_maps(leaf) * weights).sum().backward()
    torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=1e-6)
    extremes = leaf.grad.flatten()[[int(maps.argmin()), int(maps.argmax())]]
    assert (extremes.abs() > 1e-3).all()


def oracle_scaled(maps):
    return (maps - maps.min()) / (maps.max() - maps.min())


def test_mean_attention_is_equation_5():
    attention = torch.rand(2, 3, 4, 2, 5)
    expected = torch.zeros(2, 2, 5)
    for block in range(3):
        for head in range(4):
            expected += attention[:, block, head] / (3 * 4)
    torch.testing.assert_close(mean_attention(attention), expected)
    # The released code adds the heads up, so with S heads it is S times Eq. 5.
    torch.testing.assert_close(mean_attention(attention, "sum_heads"), expected * 4)
    torch.testing.assert_close(mean_attention(attention, "sum_blocks"), expected * attention.shape[1])


def test_logits_are_the_mean_over_the_grid():
    maps = torch.randn(2, 3, 4, 5)
    expected = [[sum(maps[b, c].flatten().tolist()) / 20 for c in range(3)] for b in range(2)]
    torch.testing.assert_close(pooled_logits(maps), torch.tensor(expected))


@pytest.mark.parametrize(("sign", "expected"), [(1.0, 1.0), (-1.0, -1.0), (0.0, 0.0)], ids=["same", "inverted", "flat"])
def test_attention_agreement_looks_at_the_label_alone(sign: float, expected: float) -> None:
    class_maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0])
    attention = 0.01 + 0.001 * sign * class_maps[torch.arange(2), labels]
    output = ModelOutput(torch.zeros(2, 3), torch.zeros(2, 3, 4, 4), attention, {"x_out": class_maps})
    assert attention_agreement(output, labels).tolist() == pytest.approx([expected] * 2, abs=1e-3)
