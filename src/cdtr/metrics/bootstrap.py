"""Bootstrap intervals over images while they stream by: memory does not grow with the number of images.

The Poisson bootstrap (Chamandy et al. 2012) draws each image's weight in each replicate from Poisson(1) instead of
drawing images with replacement; sums of any counts can then be kept per replicate. A weight depends on the image's id
and the replicate alone, so neither the order of the images nor the process that counts one changes anything, and two
runs on the same images have the same weights: their differences are paired.
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

_BATCH = 64  # images a matrix product
# The chance, of 2^64, that a Poisson(1) variable is at most k.
_CUMULATED = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(12)])
_CUTS = (_CUMULATED * 2.0**64).astype(np.uint64)
_STEP, _FIRST_MIX, _SECOND_MIX = (
    np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def image_weights(image_ids: list[str], replicates: int = REPLICATES) -> npt.NDArray[np.uint8]:
    """Weights (n, B) of images in each replicate, Poisson(1), from a hash of the id and the replicate's number."""
    seeds = [int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:8], "little") for name in image_ids]
    with np.errstate(over="ignore"):  # SplitMix64 counts modulo 2^64 (Steele et al. 2014)
        state = np.array(seeds, dtype=np.uint64)[:, None] + np.arange(1, replicates + 1, dtype=np.uint64) * _STEP
        state = (state ^ (state >> np.uint64(30))) * _FIRST_MIX
        state = (state ^ (state >> np.uint64(27))) * _SECOND_MIX
    weights: npt.NDArray[np.uint8] = np.searchsorted(_CUTS, state ^ (state >> np.uint64(31)), "right").astype(np.uint8)
    return weights


class BootstrapSum:
    """Sums of some values of the images in each replicate: ``sums`` (B, K), and the images' number ``counts`` (B,)."""

    def __init__(self, n_values: int, replicates: int = REPLICATES) -> None:
        self._counts: FloatArray = np.zeros(replicates)
        self._sums: FloatArray = np.zeros((replicates, n_values))
        self._ids: list[str] = []
        self._values: list[npt.NDArray[np.float32]] = []

    def add(self, image_id: str, values: npt.ArrayLike) -> None:
        """Count one image with its values (K,)."""
        self._ids.append(image_id)
        self._values.append(np.asarray(values, dtype=np.float32).ravel())
        if len(self._ids) == _BATCH:
            self._flush()

    def merge(self, other: BootstrapSum) -> None:
        """Add the sums of another part of the data set."""
        if self._sums.shape != other._sums.shape:
            raise DataError("cannot merge bootstraps of different values or numbers of replicates")
        for part in (self, other):
            part._flush()
        self._counts += other._counts
        self._sums += other._sums

    @property
    def counts(self) -> FloatArray:
        self._flush()
        return self._counts

    @property
    def sums(self) -> FloatArray:
        self._flush()
        return self._sums

    @property
    def means(self) -> FloatArray:
        """Means (B, K); NaN in a replicate that has no image."""
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
    """The central ``level`` of replicates (B,), those without an image left out; None where none has one."""
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
