"""Two runs on the same images: how much they differ, and whether it could be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from cdtr.errors import DataError
from cdtr.metrics.bootstrap import BootstrapSum, percentile_interval
from cdtr.metrics.loc_accuracy import LOC_IOU, STRICT_LOC_IOU, ImageRow

_DRAWS = 9999  # and the signs as they are
_BATCH_BYTES, _BYTES_A_SIGN = 10_000_000, 40


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """``b`` minus ``a`` in percent, its 95% interval over images, and the p-value of a two-sided paired test.

    test: exact McNemar for hits, a permutation of signs for the mean IoU. n_images: images that both runs
    have a number for.
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
    """The two runs' differences in each accuracy; DataError unless both have the same images with the same labels."""
    a_by_id, b_by_id = ({row.image_id: row for row in rows} for rows in (a_rows, b_rows))
    if a_by_id.keys() != b_by_id.keys():
        alone = sorted(a_by_id.keys() ^ b_by_id.keys())
        raise DataError(f"{len(alone)} images are in one run only, such as {alone[0]}: compare runs on the same images")
    pairs = [(row, b_by_id[name]) for name, row in sorted(a_by_id.items())]
    if any(a.label != b.label for a, b in pairs):
        raise DataError("the two runs have different labels for some images: compare runs on the same classes")
    classified = _difference("top1_cls", pairs, lambda row: row.predicted == row.label)
    found = [classified] if classified else []
    located = [(a, b) for a, b in pairs if a.iou_label is not None and b.iou_label is not None]
    for name, value in _LOCALIZATION.items():
        difference = _difference(name, located, value)
        if difference is not None:
            found.append(difference)
    return found


def mcnemar(a_hits: npt.NDArray[np.bool_], b_hits: npt.NDArray[np.bool_]) -> float:
    """Exact two-sided McNemar test of two lists (n,) of hits on the same images; 1 where they never disagree."""
    only_a, only_b = int((a_hits & ~b_hits).sum()), int((~a_hits & b_hits).sum())
    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def sign_flips(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p of the mean of paired differences (n,): how often random signs make it as large; 10,000 draws.

    Of few differences every choice of signs counts. Memory does not grow with n: SciPy's permutation test draws the
    same signs and gives the same p, but holds them all at once.
    """
    n = len(differences)
    if n < 2:
        return 1.0  # either sign is as large
    if 2**n <= _DRAWS:
        every = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=_DRAWS)
        return float(every.pvalue)
    random = np.random.default_rng(0)

    def draw(size: tuple[int, ...]) -> npt.NDArray[np.float64]:
        return random.permuted(np.broadcast_to([1.0, -1.0], (*size, 2)), axis=-1)[..., 0]

    def mean(signs: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = (signs * differences).mean(axis=axis)
        return found

    batch = max(1, _BATCH_BYTES // (_BYTES_A_SIGN * n))
    found = stats.monte_carlo_test(np.ones(n), draw, mean, vectorized=True, n_resamples=_DRAWS, batch=batch)
    return float(found.pvalue)


_LOCALIZATION: dict[str, Any] = {
    "gt_known_loc": lambda row: row.iou_label >= LOC_IOU,
    "top1_loc": lambda row: row.iou_label >= LOC_IOU and row.predicted == row.label,
    "gt_known_loc_iou70": lambda row: row.iou_label >= STRICT_LOC_IOU,
    "mean_iou": lambda row: row.iou_label,
}


def _difference(metric: str, pairs: Sequence[tuple[ImageRow, ImageRow]], value: Any) -> PairedDifference | None:
    if not pairs:
        return None
    a, b = (np.array([value(pair[side]) for pair in pairs]) for side in (0, 1))
    is_hit = a.dtype == np.bool_
    sums = BootstrapSum(1)
    for (row, _), change in zip(pairs, b.astype(float) - a.astype(float), strict=True):
        sums.add(row.image_id, [change])
    low, high = percentile_interval(100 * sums.means[:, 0]) or (float("nan"), float("nan"))
    return PairedDifference(
        metric=metric,
        a=100 * float(a.mean()),
        b=100 * float(b.mean()),
        difference=100 * float(b.mean() - a.mean()),
        low=low,
        high=high,
        p_value=mcnemar(a, b) if is_hit else sign_flips(b - a),
        test="McNemar" if is_hit else "sign flips",
        n_images=len(pairs),
    )
