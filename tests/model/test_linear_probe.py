"""The fitted classifier is where its loss is lowest, for the features as they are."""

import torch
import torch.nn.functional as F

from cdtr.model.linear_probe import fit_probe


def _rows(count=60, dim=5, classes=3):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % classes
    centres = 3 * torch.randn(classes, dim, generator=generator)
    spread = torch.tensor([1.0, 10.0, 0.1, 1.0, 1.0])
    return (centres[labels] + torch.randn(count, dim, generator=generator)) * spread + 4, labels


def test_no_step_from_the_fitted_weights_lowers_the_loss():
    rows, labels = _rows()
    weights, biases = fit_probe(rows, labels, 3)
    scale = rows.std(dim=0, unbiased=False)

    def loss(w, b):
        return float(F.cross_entropy(F.linear(rows, w, b), labels) + 0.01 * (w * scale).square().sum())

    lowest = loss(weights, biases)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        step = 0.02 * torch.randn(3, 5, generator=generator) / scale
        assert loss(weights + step, biases - step @ rows.mean(dim=0)) > lowest


def test_it_separates_classes_and_stands_constant_features():
    rows, labels = _rows()
    rows = torch.cat([rows, torch.full((60, 1), 7.0)], dim=1)
    weights, biases = fit_probe(rows, labels, 3)
    assert torch.isfinite(weights).all()
    assert (F.linear(rows, weights, biases).argmax(dim=1) == labels).float().mean() > 0.95
