"""MFF: gates and fusion by hand, and what teaches what."""

import pytest
import torch

from oracles import model_oracles as oracle
from oracles.cnn_cases import batch_of, small_method


@torch.no_grad()
@pytest.mark.parametrize("fuse", ["product", "sum"])
def test_levels_are_gated_by_their_common_context_and_fused(fuse):
    method, batch = small_method("mff", mff={"fuse": fuse}).eval(), batch_of()
    levels = method.backbone.levels(batch.images)
    z = [layer(level.mean(dim=(2, 3), keepdim=True)) for layer, level in zip(method.pooled, levels, strict=True)]
    together = z[0] * z[1] * z[2]
    narrowed = []
    for number in range(3):
        gate = 1 / (1 + torch.exp(-method.gates[number](together)))
        narrowed.append(method.backbone.resample(number, method.narrow[number](gate * levels[number])))
    a, b, c = narrowed
    fused = a * b * c if fuse == "product" else a + b + c
    output = method(batch.images)
    torch.testing.assert_close(output.maps, method.head(fused).relu(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(output.aux["x_deep"], method.head(c).relu(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(output.logits, output.maps.mean(dim=(2, 3)))
    assert output.maps.min() >= 0


def test_the_deepest_level_learns_the_labels_and_teaches_the_fused_one():
    method, batch = small_method("mff").train(), batch_of()
    output = method(batch.images)
    terms = method.losses(output, batch)
    deep = output.aux["x_deep"].mean(dim=(2, 3))
    assert float(terms["deep"]) == pytest.approx(oracle.cross_entropy(deep, batch.labels), rel=1e-4)
    expected = torch.tensor(0.0)
    for scores, targets in zip(output.logits, deep.softmax(dim=1), strict=True):
        expected -= (targets * scores.log_softmax(dim=0)).sum() / 6
    torch.testing.assert_close(terms["fused"], expected)
    torch.testing.assert_close(method.weigh(terms)[0], (terms["deep"] + terms["fused"]) / 2)
    (gradient,) = torch.autograd.grad(terms["fused"], output.aux["x_deep"], allow_unused=True)
    assert gradient is None


def test_labels_alone_as_on_ilsvrc():
    method, batch = small_method("mff", mff={"target": "labels"}).train(), batch_of()
    output = method(batch.images)
    terms = method.losses(output, batch)
    assert set(terms) == {"fused"}
    assert float(terms["fused"]) == pytest.approx(oracle.cross_entropy(output.logits, batch.labels), rel=1e-4)


@torch.no_grad()
def test_maps_are_as_fine_as_the_finest_level():
    method = small_method("mff", backbone={"output_stride": 32}).eval()
    assert method(batch_of().images).maps.shape[2:] == (8, 8)
