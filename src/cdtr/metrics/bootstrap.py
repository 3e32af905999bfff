"""Bootstrap intervals over images in one pass: memory does not grow with the number of images.

The Poisson bootstrap draws each image's weight in each replicate from Poisson(1) instead of drawing images with
replacement; weighted sums can then be kept for each replicate. A weight depends only on the image's id and the
replicate. Therefore neither the order of the images nor the number of processes changes a result, and two runs on the
same images have the same weights, so that their differences are paired.

Reference: Chamandy et al., "Estimating uncertainty for massive data streams", 2012.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError

REPLICATES = 1000
LEVEL = 0.95

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float]

_BATCH = 64  # images in a matrix product
# P(X <= k) of X ~ Poisson(1), k = 0 to 11, as integers of 64 bits.
_CUMULATIVE = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(12)])
_CUMULATIVE_BITS = (_CUMULATIVE * 2.0**64).astype(np.uint64)
# SplitMix64 (Steele et al., OOPSLA 2014); the draws of NumPy's distributions may change between its versions.
_INCREMENT, _FIRST_FACTOR, _SECOND_FACTOR = (
    np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def image_weights(image_ids: list[str], replicates: int = REPLICATES) -> npt.NDArray[np.uint8]:
    """Draw the weights of images.

    Args:
        image_ids: n names; each is hashed to the seed of its image.
        replicates: Number of replicates B.

    Returns:
        (n, B) weights, independent draws from Poisson(1).
    """
    seeds = [int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:8], "little") for name in image_ids]
    with np.errstate(over="ignore"):  # SplitMix64 counts modulo 2^64
        state = np.array(seeds, dtype=np.uint64)[:, None] + np.arange(1, replicates + 1, dtype=np.uint64) * _INCREMENT
        state = (state ^ (state >> np.uint64(30))) * _FIRST_FACTOR
        state = (state ^ (state >> np.uint64(27))) * _SECOND_FACTOR
    bits = state ^ (state >> np.uint64(31))
    weights: npt.NDArray[np.uint8] = np.searchsorted(_CUMULATIVE_BITS, bits, "right").astype(np.uint8)
    return weights


class BootstrapSum:
    """Weighted sums over images of K values, in each of B replicates.

    Args:
        n_values: Number of values K.
        replicates: Number of replicates B.

    >>> total = BootstrapSum(1, replicates=3)
    >>> for name in ("a.jpg", "b.jpg"):
    ...     total.update(name, [0.5])
    >>> total.means.ravel().tolist() == [0.5, 0.5, 0.5]
    True
    """

    def __init__(self, n_values: int, replicates: int = REPLICATES) -> None:
        self._counts: FloatArray = np.zeros(replicates)
        self._sums: FloatArray = np.zeros((replicates, n_values))
        self._ids: list[str] = []
        self._values: list[npt.NDArray[np.float32]] = []

    def update(self, image_id: str, values: npt.ArrayLike) -> None:
        """Count one image with its K values, of any shape."""
        self._ids.append(image_id)
        self._values.append(np.asarray(values, dtype=np.float32).ravel())
        if len(self._ids) == _BATCH:
            self._flush()

    def merge(self, other: BootstrapSum) -> None:
        """Add the sums of another part of the data set.

        Raises:
            DataError: If the numbers of values or replicates differ.
        """
        if self._sums.shape != other._sums.shape:
            raise DataError("cannot merge bootstraps of different values or numbers of replicates")
        for part in (self, other):
            part._flush()
        self._counts += other._counts
        self._sums += other._sums

    @property
    def counts(self) -> FloatArray:
        """(B,) sums of the weights."""
        self._flush()
        return self._counts

    @property
    def sums(self) -> FloatArray:
        """(B, K) weighted sums of the values."""
        self._flush()
        return self._sums

    @property
    def means(self) -> FloatArray:
        """(B, K) weighted means; NaN in a replicate without an image."""
        with np.errstate(invalid="ignore", divide="ignore"):
            means: FloatArray = self.sums / self.counts[:, None]
        return means

    def _flush(self) -> None:
        if self._ids:
            weights = image_weights(self._ids, len(self._counts)).astype(np.float32)
            self._sums += weights.T @ np.stack(self._values)
            self._counts += weights.sum(axis=0)
            self._ids, self._values = [], []


def percentile_interval(replicates: FloatArray, level: float = LEVEL) -> Interval | None:
    """Compute the central interval of a metric's replicates.

    Args:
        replicates: (B,) values; those that are not finite are left out.
        level: Share of the replicates inside the interval.

    Returns:
        Lower and upper end; None if no replicate is finite.
    """
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
