"""Where tiles lie in an image, and where the cells of their maps lie in its map: what every stitching shares.

``TiledMethod`` stitches crops at the scale of training within a network, ``large_images`` tiles of a large image around
any model. NumPy alone, as exported models run where PyTorch is not installed.
"""

from __future__ import annotations

import math

import numpy as np

from cdtr.records import FloatArray


def tile_offsets(tile: int, image: int, overlap: float = 0.0) -> list[int]:
    """Return where tiles start along a side of ``image`` pixels, at even distances, as few as cover it.

    Args:
        tile: the side of a tile in pixels, at most ``image``.
        image: the side of the image in pixels.
        overlap: the smallest share of a tile that its neighbour shows too, in [0, 1).
    """
    if image <= tile:
        return [0]
    count = math.ceil((image - tile) / (tile * (1 - overlap))) + 1
    return [round(index * (image - tile) / (count - 1)) for index in range(count)]


def grid_side(tile: float, image: int, cells: int) -> int:
    """Return the cells of an image's map along a side, each as large as those of a tile's map of ``cells`` cells."""
    return max(round(image * cells / tile), cells)


def cell_shares(start: float, tile: float, cells: int, image: int, grid: int) -> tuple[slice, FloatArray]:
    """Return which cells of an image's map a tile shows along a side, and how to compute them from the tile's cells.

    Args:
        start: where the tile begins, in pixels of the image.
        tile: the side of the tile in pixels.
        cells: cells of the tile's map.
        image: the side of the image in pixels.
        grid: cells of the image's map.

    Returns:
        The cells whose centres lie in the tile, n of them, and (n, cells) weights of linear interpolation, whose rows
        sum to 1.
    """
    size = tile / cells
    centres = (np.arange(grid) + 0.5) * image / grid
    inside = np.flatnonzero((centres > start) & (centres < start + tile))
    at = ((centres[inside] - start) / size - 0.5).clip(0, cells - 1)
    low = np.minimum(np.floor(at).astype(np.int64), max(cells - 2, 0))
    share, rows = at - low, np.arange(len(inside))
    weights = np.zeros((len(inside), cells), dtype=np.float32)
    np.add.at(weights, (rows, low), 1 - share)
    np.add.at(weights, (rows, np.minimum(low + 1, cells - 1)), share)
    first = int(inside[0]) if len(inside) else 0
    return slice(first, first + len(inside)), weights
