"""How well a box's score predicts that the box is a hit: calibration (ECE), AUROC, and risk over coverage (AURC).

References: ECE: Naeini et al., AAAI 2015. AURC: Geifman and El-Yaniv, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError

FloatArray = npt.NDArray[np.float64]
SHARES = (0.2, 0.5)
_BINS = 10


@dataclass(frozen=True, slots=True)
class Selective:
    """Scores of n boxes compared with their hits.

    Attributes:
        n_images: Number of images n, with one box each.
        hit_rate: Percent of all boxes that are hits.
        accuracy_at: Percent of hits among the best-scored share of the boxes, by share.
        ece: Expected calibration error in percent: the mean distance between score and hit rate, over bins with equally
            many images.
        auroc: Probability that a hit scores above a miss; None if all boxes are hits or all are misses.
        bins: (mean score, hit rate, number of images) of each bin.
        coverage: (n,) share of the images kept, best-scored first.
        risk: (n,) share of misses among the images kept.
        aurc: Area under risk over coverage: the mean of ``risk``.
    """

    n_images: int
    hit_rate: float
    accuracy_at: Mapping[float, float]
    ece: float
    auroc: float | None
    bins: tuple[tuple[float, float, int], ...]
    coverage: FloatArray
    risk: FloatArray
    aurc: float

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {
            "n_images": self.n_images,
            "hit_rate": self.hit_rate,
            "accuracy_at": {f"{share:g}": accuracy for share, accuracy in self.accuracy_at.items()},
            "ece": self.ece,
            "auroc": self.auroc,
            "aurc": self.aurc,
            "reliability": [{"score": score, "hit_rate": rate, "images": n} for score, rate, n in self.bins],
        }


def measure_scores(scores: npt.ArrayLike, hits: npt.ArrayLike) -> Selective:
    """Compare scores with hits.

    Args:
        scores: (n,) in [0, 1], n >= 1. Images with equal scores count as their mean, so that their order is irrelevant.
        hits: (n,) booleans.

    Returns:
        The measures of calibration and of selective prediction.

    Raises:
        DataError: For other shapes, and scores outside [0, 1].

    >>> found = measure_scores([0.9, 0.1], [True, False])
    >>> found.hit_rate, found.auroc, found.aurc
    (50.0, 1.0, 0.25)
    """
    score, hit = np.asarray(scores, dtype=np.float64), np.asarray(hits, dtype=bool)
    if score.ndim != 1 or score.shape != hit.shape or not len(score):
        raise DataError(f"scores of shape {score.shape} and hits of shape {hit.shape}: expected one of each an image")
    if not ((score >= 0) & (score <= 1)).all():
        raise DataError("box scores outside [0, 1]: expected probabilities")
    coverage, risk = risk_coverage(score, hit)
    bins = reliability(score, hit)
    return Selective(
        n_images=len(score),
        hit_rate=100 * float(hit.mean()),
        accuracy_at={share: _accuracy_at(risk, share) for share in SHARES},
        ece=100 * sum(n * abs(mean - rate) for mean, rate, n in bins) / len(score),
        auroc=_auroc(score, hit),
        bins=bins,
        coverage=coverage,
        risk=risk,
        aurc=float(risk.mean()),
    )


def reliability(
    scores: FloatArray, hits: npt.NDArray[np.bool_], bins: int = _BINS
) -> tuple[tuple[float, float, int], ...]:
    """Divide the images into bins of about equal size by their score.

    Args:
        scores: (n,) in [0, 1].
        hits: (n,) booleans.
        bins: Number of bins.

    Returns:
        (mean score, hit rate, number of images) of each bin. Equal scores share a bin, so that there may be fewer.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    # Index of each bin's first image, moved back to the first image of equal score.
    starts = np.searchsorted(ordered, ordered[np.arange(bins) * len(scores) // bins], "left")
    parts: Sequence[npt.NDArray[np.int64]] = np.split(order, np.unique(starts)[1:])
    return tuple((float(scores[part].mean()), float(hits[part].mean()), len(part)) for part in parts)


def risk_coverage(scores: FloatArray, hits: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Compute the share of misses among the best-scored images.

    Args:
        scores: (n,) in [0, 1].
        hits: (n,) booleans.

    Returns:
        Coverage (n,), the share of the images kept, and risk (n,), the share of misses among them, both in [0, 1],
        from the best-scored image alone to all images.
    """
    values, groups = np.unique(-scores, return_inverse=True)
    mean_hit = np.bincount(groups, hits, len(values)) / np.bincount(groups, minlength=len(values))
    kept = np.arange(1, len(scores) + 1)
    risk: FloatArray = 1 - np.cumsum(mean_hit[np.sort(groups)]) / kept
    return kept / len(scores), risk.clip(0, 1)


def _accuracy_at(risk: FloatArray, share: float) -> float:
    return 100 * (1 - float(risk[max(round(share * len(risk)), 1) - 1]))


def _auroc(scores: FloatArray, hits: npt.NDArray[np.bool_]) -> float | None:
    from scipy.stats import mannwhitneyu

    if hits.all() or not hits.any():
        return None
    statistic = mannwhitneyu(scores[hits], scores[~hits], method="asymptotic").statistic
    return float(statistic / (hits.sum() * (~hits).sum()))
