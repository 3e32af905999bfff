import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cdtr.errors import DataError
from cdtr.metrics.selective import measure_scores


def test_four_images_by_hand() -> None:
    found = measure_scores([0.9, 0.1, 0.6, 0.4], [True, False, False, True])
    assert found.hit_rate == 50
    np.testing.assert_allclose(found.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found.risk, [0, 1 / 2, 1 / 3, 1 / 2])
    assert found.accuracy_at == {0.2: 100, 0.5: 50}
    assert found.auroc == pytest.approx(3 / 4)
    assert found.ece == pytest.approx(100 * (0.1 + 0.1 + 0.6 + 0.6) / 4)
    assert found.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_a_score_that_is_the_probability_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    honest = measure_scores(scores, rng.random(20_000) < scores)
    assert honest.ece < 1.5
    assert [n for _, _, n in honest.bins] == [2000] * 10
    sure = measure_scores(np.sqrt(scores), rng.random(20_000) < scores)
    assert sure.ece > 10


def test_ties_share_a_bin_and_their_order_does_not_matter() -> None:
    hits = np.array([True, False, False, True, True, False])
    found = [measure_scores([0.5] * 6, hits[list(order)]) for order in itertools.permutations(range(6))]
    assert all(one.bins == ((0.5, 0.5, 6),) for one in found)
    np.testing.assert_allclose([one.risk for one in found], 0.5)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.booleans()), min_size=2, max_size=30))
def test_auroc_is_scikit_learns(pairs: list[tuple[float, bool]]) -> None:
    scores, hits = zip(*pairs, strict=True)
    found = measure_scores(scores, hits).auroc
    if len(set(hits)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(hits, scores))


@pytest.mark.parametrize(
    ("scores", "hits"),
    [([], []), ([0.5], [True, False]), ([1.2], [True]), ([np.nan], [True])],
    ids=["none", "lengths", "above-one", "nan"],
)
def test_bad_scores_are_refused(scores: list[float], hits: list[bool]) -> None:
    with pytest.raises(DataError, match="expected"):
        measure_scores(scores, hits)
