import tracemalloc

import numpy as np
import pytest
from scipy import stats

from cdtr.errors import DataError
from cdtr.metrics import ImageRow
from cdtr.metrics.paired import compare_rows, mcnemar, sign_flips


def rows(ious, predicted=0, label=0):
    return [ImageRow(f"{n}", label, predicted, 0.5, True, float(iou), float(iou)) for n, iou in enumerate(ious)]


def test_mcnemar_is_the_binomial_of_the_disagreements():
    a = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0], dtype=bool)
    b = np.array([0, 0, 0, 0, 0, 0, 1, 1, 0], dtype=bool)
    # 6 against 1: 2 * (1 + 7) / 2^7.
    assert mcnemar(a, b) == pytest.approx(0.125)
    assert mcnemar(a, a) == 1


def test_sign_flips_of_few_differences_by_hand():
    # All of one sign: of 2^5 choices of signs two are as extreme.
    assert sign_flips(np.array([0.1, 0.2, 0.3, 0.2, 0.1])) == pytest.approx(2 / 32)
    assert sign_flips(np.zeros(4)) == 1
    assert sign_flips(np.array([0.4])) == 1


@pytest.mark.parametrize("n", [2, 13, 14, 200])
def test_sign_flips_are_those_of_scipy(n):
    rng = np.random.default_rng(n)
    for differences in (rng.normal(0.1, 1, n), rng.integers(-2, 3, n) / 10):
        known = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=9999, vectorized=True, rng=0
        )
        assert sign_flips(differences) == pytest.approx(known.pvalue, abs=1e-12)


def test_sign_flips_of_many_differences_fit_into_memory():
    differences = np.random.default_rng(0).normal(0, 1, 2000)
    tracemalloc.start()
    sign_flips(differences)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e7


def test_differences_are_b_minus_a_whatever_the_order_of_the_rows():
    a, b = rows([0.6, 0.2, 0.8, 0.1]), rows([0.6, 0.7, 0.9, 0.1])[::-1]
    found = {one.metric: one for one in compare_rows(a, b)}
    assert found["gt_known_loc"].a == 50
    assert found["gt_known_loc"].b == 75
    assert found["gt_known_loc"].difference == 25
    assert found["mean_iou"].difference == pytest.approx(15)
    assert found["gt_known_loc"].low <= 25 <= found["gt_known_loc"].high
    assert found["top1_cls"].p_value == 1


def test_interval_of_a_run_with_itself_is_nothing():
    same = compare_rows(rows([0.6, 0.2]), rows([0.6, 0.2]))
    assert {(one.low, one.high, one.p_value) for one in same} == {(0, 0, 1)}


def test_other_images_or_labels_are_an_error():
    with pytest.raises(DataError, match="1 images are in one run only, such as 1"):
        compare_rows(rows([0.6, 0.2]), rows([0.6]))
    with pytest.raises(DataError, match="different labels"):
        compare_rows(rows([0.6]), rows([0.6], label=1))
