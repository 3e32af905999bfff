"""Images that look alike though their files differ: re-encoded, resized, grey or brighter copies.

An image's perceptual hash is the sign of its 16 x 16 lowest frequencies (pHash, Zauner 2010; the library imagehash):
256 bits, of which two unrelated images differ in about 128.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from PIL import Image
from scipy.sparse import csr_matrix, identity

from cdtr.errors import ConfigError, DataError, how_to_install
from cdtr.records import UInt8Array

HASH_SIDE = 16
HASH_BYTES = HASH_SIDE**2 // 8
# Found by looking: up to here pairs of NEU-DET, CUB, Tiny-ImageNet and of the brain scans are one image; from 14 on
# come neighbouring slices of one head (docs/data.md).
NEAR = 12

_BLANK = 1.0  # standard deviation, of 255 grey levels: below, the bits of a hash are noise
_MOST_PAIRS = 10_000_000  # about a gigabyte
_ROWS = 2048  # that are compared with all others before the progress moves

IntArray = npt.NDArray[np.int64]


class TooManyPairsError(DataError):
    """More images look alike than can be listed."""


def require_imagehash() -> Any:
    """The library, which only this needs."""
    try:
        import imagehash
    except ImportError as error:
        raise ConfigError(
            f"near copies need the library imagehash: {how_to_install('check')}, or leave them out with `near=False`"
        ) from error
    return imagehash


def perceptual_hash(image: Image.Image) -> UInt8Array | None:
    """The perceptual hash (HASH_BYTES,) of an image of any size and mode; None for a blank one."""
    small = image.convert("L").resize((64, 64), Image.Resampling.BOX)
    if np.asarray(small).std() < _BLANK:
        return None
    bits = require_imagehash().phash(image, hash_size=HASH_SIDE).hash
    return np.packbits(bits.ravel())


def link_alike(
    hashes: UInt8Array, distance: int = NEAR, progress: Callable[[int], None] | None = None
) -> tuple[IntArray, csr_matrix]:
    """Which images look alike, from their hashes (N, HASH_BYTES).

    Images of one hash share a node, so that a thousand equal ones are no million pairs. Returns the node of each image
    (N,), and for K nodes the symmetric matrix (K, K) with 1 where two hashes differ in at most ``distance`` bits, its
    diagonal included. ``progress`` is called with the nodes done. TooManyPairsError where they cannot all be held, as
    of a camera that never moves.
    """
    words = np.ascontiguousarray(hashes).reshape(-1, HASH_BYTES).view(np.uint64)
    different, node_of = np.unique(words, axis=0, return_inverse=True)
    found = [np.zeros((0, 2), dtype=np.int64)]
    room = _MOST_PAIRS
    for start in range(0, len(different), _ROWS):
        stop = min(start + _ROWS, len(different))
        found.append(_compare(different, start, stop, np.uint64(distance), room))
        room -= len(found[-1])
        if room < 0:
            raise TooManyPairsError(
                f"more than {_MOST_PAIRS} pairs of {len(different)} images differ in at most {distance} bits, as "
                "those of a camera that never moves: take a smaller `distance=`, or `near=False`"
            )
        if progress is not None:
            progress(stop - start)
    rows, columns = np.concatenate(found).T
    one = np.ones(len(rows), dtype=np.int64)
    above = csr_matrix((one, (rows, columns)), shape=(len(different), len(different)))
    return node_of.ravel(), above + above.T + identity(len(different), dtype=np.int64, format="csr")


@njit(cache=True, nogil=True)
def _compare(words, start, stop, distance, room):  # type: ignore[no-untyped-def]
    """Pairs (M, 2) of rows ``start`` to ``stop`` of (N, 4) words with those that follow them.

    Nearly every pair is given up after its first word. Once there are more than ``room``, the search ends with the row.
    """
    found = [(0, 0)]  # tells numba what the list holds
    for i in range(start, stop):
        for j in range(i + 1, len(words)):
            total = np.uint64(0)
            for k in range(words.shape[1]):
                total += _count_bits(words[i, k] ^ words[j, k])
                if total > distance:
                    break
            if total <= distance:
                found.append((i, j))
        if len(found) - 1 > room:
            break
    pairs = np.empty((len(found) - 1, 2), np.int64)
    for row in range(1, len(found)):
        pairs[row - 1, 0], pairs[row - 1, 1] = found[row]
    return pairs


@njit(cache=True, nogil=True)
def _count_bits(word):  # type: ignore[no-untyped-def]
    """Sums in pairs, fours, eights, then all bytes by one product (Warren, Hacker's Delight, 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)
