"""How well images with an object are told from those without: AUROC, and boxes that are false or missing.

The images without an object are those of the classes in ``data.empty_classes``. They have no box, so the other metrics
of boxes leave them out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cdtr.metrics.record import Float64Array, PresenceMetric, Presences


def weighted_auroc(scores: Float64Array, positive: npt.NDArray[np.bool_], weights: Float64Array) -> Float64Array:
    """Compute the probability that a positive scores above a negative; ties count as half.

    Args:
        scores: (n,).
        positive: (n,) booleans.
        weights: (R, n), R weightings of the n, at least 0.

    Returns:
        (R,) in [0, 1]; NaN where the positives or the negatives have no weight.

    >>> weighted_auroc(np.array([0.9, 0.5, 0.5]), np.array([True, True, False]), np.ones((1, 3))).tolist()
    [0.75]
    """
    if not len(scores):
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # of each group of equal scores
    ordered, is_positive = weights[:, order], positive[order]
    positives = np.add.reduceat(ordered * is_positive, starts, axis=1)
    negatives = np.add.reduceat(ordered * ~is_positive, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Float64Array = np.where(pairs > 0, (positives * below).sum(axis=1) / pairs, np.nan)
    return found


def _share(hit: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], weights: Float64Array) -> Float64Array:
    """The percentage of the images ``among`` that are ``hit``, both (n,), for each of the weightings (R, n)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Float64Array = 100 * (weights @ (hit & among)) / (weights @ among.astype(np.float64))
    return found


def _auroc(found: Presences, weights: Float64Array) -> Float64Array:
    return 100 * weighted_auroc(found.prob, found.true, weights)


# object_auroc: of the probability of an object. false_boxes: share of the images without an object that get a box.
# missing_boxes: share of the images with one that get none.
METRICS = (
    PresenceMetric(
        key="object_auroc",
        title="object AUROC",
        order=200,
        of_images=_auroc,
        needs_class=True,
        optional=True,
    ),
    PresenceMetric(
        key="false_boxes",
        title="false boxes",
        order=210,
        of_images=lambda found, weights: _share(found.boxed, ~found.true, weights),
        needs_class=True,
        optional=True,
    ),
    PresenceMetric(
        key="missing_boxes",
        title="missing boxes",
        order=220,
        of_images=lambda found, weights: _share(~found.boxed, found.true, weights),
        needs_class=True,
        optional=True,
    ),
)
