"""How good a box's score is as the probability that the box is a hit: calibration, and accuracy of the best-scored."""

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
    """A score against what came true, n images.

    hit_rate: percent over all. accuracy_at: percent among the best-scored share. calibration_error: the mean distance
    of score and hit rate in percent over bins of equally many images (ECE, Naeini et al. 2015). auroc: the chance that
    a hit scores above a miss, None where all are one or the other. bins: (mean score, hit rate, images).
    coverage, risk: (n,), the share of images kept, best first, and their share of misses. risk_area: mean risk over
    coverage (AURC, Geifman and El-Yaniv 2017).
    """

    n_images: int
    hit_rate: float
    accuracy_at: Mapping[float, float]
    calibration_error: float
    auroc: float | None
    bins: tuple[tuple[float, float, int], ...]
    coverage: FloatArray
    risk: FloatArray
    risk_area: float

    def to_json(self) -> dict[str, Any]:
        return {
            "n_images": self.n_images,
            "hit_rate": self.hit_rate,
            "accuracy_at": {f"{share:g}": accuracy for share, accuracy in self.accuracy_at.items()},
            "calibration_error": self.calibration_error,
            "auroc": self.auroc,
            "risk_area": self.risk_area,
            "reliability": [{"score": score, "hit_rate": rate, "images": n} for score, rate, n in self.bins],
        }


def measure_scores(scores: npt.ArrayLike, hits: npt.ArrayLike) -> Selective:
    """scores: (n,) in [0, 1]; hits: (n,) bool; n >= 1. Images of equal score count as their mean, in any order."""
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
        calibration_error=100 * sum(n * abs(mean - rate) for mean, rate, n in bins) / len(score),
        auroc=_auroc(score, hit),
        bins=bins,
        coverage=coverage,
        risk=risk,
        risk_area=float(risk.mean()),
    )


def reliability(
    scores: FloatArray, hits: npt.NDArray[np.bool_], bins: int = _BINS
) -> tuple[tuple[float, float, int], ...]:
    """(mean score, hit rate, images) of bins of about equally many images; equal scores share a bin."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    # The first of each bin, moved back to where its score begins.
    starts = np.searchsorted(ordered, ordered[np.arange(bins) * len(scores) // bins], "left")
    parts: Sequence[npt.NDArray[np.int64]] = np.split(order, np.unique(starts)[1:])
    return tuple((float(scores[part].mean()), float(hits[part].mean()), len(part)) for part in parts)


def risk_coverage(scores: FloatArray, hits: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Share kept (n,) and share of misses among them (n,), from the best-scored image alone to all."""
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
