"""SPA: the term of restricted activation by hand, and self-correlation by loops over cells."""

import math

import pytest
import torch

from cdtr.config.modules.spa import SpaConfig
from cdtr.model.methods.spa import restriction
from cdtr.model.scg import at_least, correlations, spread
from oracles.cnn_cases import batch_of, small_method


def step(value, threshold):
    """A ramp as wide as a hundredth of the threshold."""
    return min(max((value - threshold) / (0.01 * threshold) + 0.5, 0.0), 1.0)


def slow_correlations(features, config):
    """Four cells or so: columns are what is like a cell."""
    cells = [features.flatten(1)[:, i] for i in range(features[0].numel())]
    n = len(cells)
    a = [[max(float(x @ y / (x.norm() * y.norm())), 0.0) for y in cells] for x in cells]
    a = [[value * step(value, config.tau1) for value in row] for row in a]

    def normalised(matrix):
        sums = [sum(matrix[i][j] for i in range(n)) for j in range(n)]
        return [[matrix[i][j] / sums[j] if sums[j] else 0.0 for j in range(n)] for i in range(n)]

    first = normalised(a)
    q = normalised([[a[i][j] if i != j else 0.0 for j in range(n)] for i in range(n)])
    product = [[sum(q[i][k] * q[k][j] for k in range(n)) for j in range(n)] for i in range(n)]
    second = normalised(product)
    second = [[value * step(value, config.tau2 / n) for value in row] for row in second]
    return [[max(first[i][j], config.beta * second[i][j]) for j in range(n)] for i in range(n)]


def slow_spread(class_map, matrix, config):
    n = len(matrix)
    columns = []
    for j in range(n):
        column = [matrix[i][j] for i in range(n)]
        low, high = min(column), max(column)
        columns.append([(value - low) / (high - low) if high > low else 0.0 for value in column])

    def scaled(values):
        low, high = min(values), max(values)
        return [(value - low) / (high - low) if high > low else 0.0 for value in values]

    seeds = scaled([float(v) for v in class_map.flatten()])
    up = scaled([sum(columns[j][i] * step(seeds[j], config.positive) for j in range(n)) for i in range(n)])
    background = [1 - step(seed, config.negative) for seed in seeds]
    down = scaled([sum(columns[j][i] * background[j] for j in range(n)) for i in range(n)])
    return scaled([max(x - y, 0.0) for x, y in zip(up, down, strict=True)])


@pytest.mark.parametrize("beta", [2.0, 1.0])
def test_correlations_and_spread_by_loops(beta):
    torch.manual_seed(0)
    config = SpaConfig(beta=beta)
    features, maps = torch.randn(2, 6, 2, 3), torch.randn(2, 3, 2, 3)
    found = correlations(features, config)
    spreaded = spread(maps, [features], config)
    for image in range(2):
        expected = slow_correlations(features[image], config)
        torch.testing.assert_close(found[image], torch.tensor(expected), rtol=1e-4, atol=1e-5)
        for label in range(3):
            slow = slow_spread(maps[image, label], expected, config)
            torch.testing.assert_close(spreaded[image, label].flatten(), torch.tensor(slow), rtol=1e-3, atol=1e-4)


def test_the_order_of_the_cells_does_not_matter():
    torch.manual_seed(0)
    features, maps, order = torch.randn(1, 5, 1, 8), torch.randn(1, 2, 1, 8), torch.randperm(8)
    config = SpaConfig()
    direct = spread(maps, [features], config)[..., order]
    torch.testing.assert_close(direct, spread(maps[..., order], [features[..., order]], config))


@pytest.mark.parametrize("value", [0.0, 1.0], ids=["constant map", "constant features"])
def test_maps_without_seeds_of_a_kind_stay_finite(value):
    features = torch.rand(1, 4, 3, 3) if value == 0 else torch.ones(1, 4, 3, 3)
    maps = torch.zeros(1, 2, 3, 3) if value == 0 else torch.rand(1, 2, 3, 3)
    for config in (SpaConfig(), SpaConfig(positive=0.0, negative=1.0)):
        found = spread(maps, [features], config)
        assert torch.isfinite(found).all()
        assert found.min() >= 0


def test_restricted_activation_by_hand():
    maps = torch.tensor([[[[3.0, 0.0], [1.0, 0.2]], [[0.0, 0.0], [0.5, 0.1]], [[0.0, 0.0], [0.0, 0.0]]]])
    config = SpaConfig(low=0.1, gap=0.2)
    variances = []
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weights = [math.exp(float(maps[0, c, row, column])) for c in range(3)]
        shares = [weight / sum(weights) for weight in weights]
        variances.append(sum((share - 1 / 3) ** 2 for share in shares) / 3)
    low, high = min(variances), max(variances)
    total = 0.0
    for variance, score in zip(variances, maps[0, 0].flatten().tolist(), strict=True):
        scaled, sigmoid = (variance - low) / (high - low), 1 / (1 + math.exp(-score))
        total += sigmoid if scaled < 0.1 else (1 - sigmoid) if scaled > 0.3 else 0.0
    assert float(restriction(maps, torch.tensor([0]), config)) == pytest.approx(total / 4, rel=1e-5)


def test_ram_counts_from_its_epoch_on_and_with_classes_enough():
    method, batch = small_method("spa", spa={"start": 0.5}).train(), batch_of()
    output = method(batch.images)
    for epoch, counts in ((4, False), (5, True)):
        method.start_epoch(epoch, 10)
        terms = method.losses(output, batch)
        assert bool(terms["ram"] > 0) is counts
        total, _ = method.weigh(terms)
        torch.testing.assert_close(total, terms["cls"] + 0.5 * terms["ram"])
    few = small_method("spa", spa={"min_classes": 10}).train()
    assert set(few.losses(few(batch.images), batch)) == {"cls"}


@torch.no_grad()
def test_scg_can_be_off():
    images = batch_of().images
    method, cam = small_method("spa", spa={"scg": False}).eval(), small_method("cam").eval()
    cam.load_state_dict(method.state_dict())
    torch.testing.assert_close(method(images).maps, cam(images).maps)


def test_thresholds_are_ramps_that_rounding_cannot_flip():
    values = torch.tensor([0.0994, 0.0995, 0.1, 0.1005, 0.2, 0.0])
    assert at_least(values, 0.1).tolist() == pytest.approx([0, 0, 0.5, 1, 1, 0], abs=1e-4)
    assert at_least(torch.tensor([0.0, 0.1]), 0.0).tolist() == [0.5, 1]
