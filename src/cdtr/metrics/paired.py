"""Compare two runs on the same images: the difference of each metric, its interval and a paired test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.metrics.bootstrap import BootstrapSum, percentile_interval
from cdtr.metrics.outcomes import ImageRow, Outcomes
from cdtr.metrics.record import ImageMetric
from cdtr.metrics.registry import image_metrics

_RANDOM_SIGN_DRAWS = 9999  # besides the observed signs
_BATCH_BYTES, _BYTES_PER_SIGN = 10_000_000, 40


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Difference of two runs in one metric.

    Attributes:
        metric: Key of the metric.
        a: The first run's value, in the metric's unit.
        b: The second run's value.
        difference: ``b`` minus ``a``.
        low: Lower end of the 95% bootstrap interval of the difference over images.
        high: Upper end of it.
        p_value: Of a two-sided paired test.
        test: ``McNemar`` (exact) for hits, ``sign flips`` (permutation of signs) for other values.
        n_images: Number of images that have a value in both runs.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    test: str
    n_images: int


def compare_rows(a_rows: Sequence[ImageRow], b_rows: Sequence[ImageRow]) -> list[PairedDifference]:
    """Compare two runs by every metric that is ``compared``.

    Args:
        a_rows: Images of the first run.
        b_rows: Images of the second run, in any order.

    Returns:
        The differences, in the order of tables; a metric without a value in both runs is left out.

    Raises:
        DataError: Unless both runs have the same images with the same labels.
    """
    a_by_id, b_by_id = ({row.image_id: row for row in rows} for rows in (a_rows, b_rows))
    if a_by_id.keys() != b_by_id.keys():
        alone = sorted(a_by_id.keys() ^ b_by_id.keys())
        raise DataError(f"{len(alone)} images are in one run only, such as {alone[0]}: compare runs on the same images")
    pairs = [(row, b_by_id[name]) for name, row in sorted(a_by_id.items())]
    if any(a.label != b.label for a, b in pairs):
        raise DataError("the two runs have different labels for some images: compare runs on the same classes")
    found = [_difference(metric, pairs) for metric in image_metrics() if metric.compared]
    return [difference for difference in found if difference is not None]


def mcnemar(a_hits: npt.NDArray[np.bool_], b_hits: npt.NDArray[np.bool_]) -> float:
    """Compute the exact two-sided McNemar test.

    Args:
        a_hits: (n,) hits of the first run.
        b_hits: (n,) hits of the second run on the same images.

    Returns:
        The p-value; 1 if the runs never disagree.

    Reference: McNemar, Psychometrika 1947.
    """
    from scipy import stats

    only_a, only_b = int((a_hits & ~b_hits).sum()), int((~a_hits & b_hits).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def sign_flips(differences: npt.NDArray[np.float64]) -> float:
    """Compute the two-sided permutation test of the mean of paired differences.

    Under the null hypothesis each difference has either sign with equal probability. All choices of signs are tried for
    few differences, 9,999 random ones for more. SciPy's permutation test gives the same p-value but holds all signs in
    memory at once.

    Args:
        differences: (n,) paired differences.

    Returns:
        The share of choices of signs whose mean is at least as extreme.
    """
    from scipy import stats

    n = len(differences)
    if n < 2:
        return 1.0  # both signs are equally extreme
    if 2**n <= _RANDOM_SIGN_DRAWS:
        every = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=_RANDOM_SIGN_DRAWS
        )
        return float(every.pvalue)
    random = np.random.default_rng(0)

    def draw(size: tuple[int, ...]) -> npt.NDArray[np.float64]:
        return random.permuted(np.broadcast_to([1.0, -1.0], (*size, 2)), axis=-1)[..., 0]

    def mean(signs: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = (signs * differences).mean(axis=axis)
        return found

    batch = max(1, _BATCH_BYTES // (_BYTES_PER_SIGN * n))
    found = stats.monte_carlo_test(np.ones(n), draw, mean, vectorized=True, n_resamples=_RANDOM_SIGN_DRAWS, batch=batch)
    return float(found.pvalue)


def _difference(metric: ImageMetric, pairs: Sequence[tuple[ImageRow, ImageRow]]) -> PairedDifference | None:
    """Compare by one metric; None if no image has a value in both runs."""
    known = [pair for pair in pairs if len(metric.rows_with_value(pair)) == len(pair)]
    if not known:
        return None
    a, b = (metric.value(Outcomes.of_rows(rows)) for rows in zip(*known, strict=True))
    is_hit = a.dtype == np.bool_
    sums = BootstrapSum(1)
    for (row, _), change in zip(known, b.astype(float) - a.astype(float), strict=True):
        sums.update(row.image_id, [change])
    low, high = percentile_interval(metric.scale * sums.means[:, 0]) or (float("nan"), float("nan"))
    return PairedDifference(
        metric=metric.key,
        a=metric.scale * float(a.mean()),
        b=metric.scale * float(b.mean()),
        difference=metric.scale * float(b.mean() - a.mean()),
        low=low,
        high=high,
        p_value=mcnemar(a, b) if is_hit else sign_flips(b - a),
        test="McNemar" if is_hit else "sign flips",
        n_images=len(known),
    )
