import numpy as np
import pytest

from cdtr.errors import DataError
from cdtr.metrics.bootstrap import BootstrapSum, image_weights, percentile_interval


def names(count, start=0):
    return [f"image {number}" for number in range(start, start + count)]


def fed(values, start=0, replicates=1000):
    sums = BootstrapSum(1, replicates)
    for name, value in zip(names(len(values), start), values, strict=True):
        sums.update(name, [value])
    return sums


def test_weights_are_poisson_and_independent():
    weights = image_weights(names(2000)).astype(float)
    expected = np.exp(-1) / np.array([1, 1, 2, 6])
    found = [(weights == k).mean() for k in range(4)]
    np.testing.assert_allclose(found, expected, atol=0.002)
    assert weights.var() == pytest.approx(1, abs=0.01)
    between = np.corrcoef(weights[:, :50].T)[np.triu_indices(50, 1)]
    assert abs(between.mean()) < 0.01
    assert between.std() == pytest.approx(1 / np.sqrt(2000), rel=0.15)


def test_weight_depends_on_the_image_alone():
    forward, backward = image_weights(["a", "b"]), image_weights(["b", "a"])
    np.testing.assert_array_equal(forward, backward[::-1])
    assert (forward[0] != forward[1]).any()


def test_parts_in_any_order_are_the_whole():
    values = np.random.default_rng(0).integers(0, 2, 150).astype(float)
    whole, first, second = fed(values), fed(values[:70]), fed(values[70:], start=70)
    second.merge(first)
    np.testing.assert_array_equal(whole.sums, second.sums)
    np.testing.assert_array_equal(whole.counts, second.counts)


@pytest.mark.parametrize("draw", ["hits", "ious"])
def test_intervals_cover_the_truth_at_the_nominal_rate(draw):
    rng, covered, trials = np.random.default_rng(1), 0, 400
    truth = 0.3 if draw == "hits" else 2 / 7
    for trial in range(trials):
        values = rng.random(150) < 0.3 if draw == "hits" else rng.beta(2, 5, 150)
        low, high = percentile_interval(fed(values, start=1000 * trial, replicates=400).means[:, 0])
        covered += low <= truth <= high
    assert 0.92 <= covered / trials <= 0.98


def test_no_image_has_no_interval():
    assert percentile_interval(BootstrapSum(1).means[:, 0]) is None
    with pytest.raises(DataError, match="cannot merge"):
        BootstrapSum(1).merge(BootstrapSum(2))
