"""How images are cut into tiles, and where the cells of their maps lie in an image's map: what every stitching shares.

``TiledMethod`` stitches crops at the scale of training within a network, ``large_images`` tiles of a large image around
any model. NumPy alone, as exported models run where PyTorch is not installed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cdtr.errors import ConfigError
from cdtr.records import FloatArray

MOST_TILES = 10_000  # of one image: an hour on one core with a small network
_LARGE = 1.5  # an image up to so many times as high and wide as a tile is localized whole
_OVERLAP = 0.5  # an object of up to half a tile lies wholly in a tile


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


@dataclass(frozen=True, slots=True)
class Tiling:
    """How large images are cut.

    Attributes:
        tile_hw: height and width of a tile in pixels of the image.
        at_a_time: tiles in one forward pass.
        map_span: highest less lowest value of a typical image's map; None where it is not known.
    """

    tile_hw: tuple[int, int]
    at_a_time: int = 8
    map_span: float | None = None

    def cuts(self, size_hw: tuple[int, int]) -> bool:
        """Whether an image is large enough to be cut: more than 1.5 tiles high or wide."""
        return any(side > _LARGE * tile for side, tile in zip(size_hw, self.tile_hw, strict=True))

    def fault(self, size_hw: tuple[int, int]) -> str | None:
        """Return why an image is not localized: it has too many tiles. None for one that is."""
        tops, lefts = self._offsets(size_hw)
        count = len(tops) * len(lefts)
        if count <= MOST_TILES:
            return None
        tiles = f"{self.tile_hw[1]} x {self.tile_hw[0]}"
        return (
            f"{size_hw[1]} x {size_hw[0]} pixels are {count} tiles of {tiles}, more than {MOST_TILES}: "
            "give larger ones as `tiles=`, or scale the image down"
        )

    def tiles(self, size_hw: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """Return left, top, right and bottom of each tile of an image, row by row; none reaches out of it."""
        height, width = (min(side, tile) for side, tile in zip(size_hw, self.tile_hw, strict=True))
        tops, lefts = self._offsets(size_hw)
        return [(left, top, left + width, top + height) for top in tops for left in lefts]

    def _offsets(self, size_hw: tuple[int, int]) -> tuple[list[int], list[int]]:
        rows, columns = (tile_offsets(tile, side, _OVERLAP) for tile, side in zip(self.tile_hw, size_hw, strict=True))
        return rows, columns


@dataclass(frozen=True, slots=True)
class TileScale:
    """What chooses the size of tiles.

    Attributes:
        input_hw: height and width that the network sees of an image.
        trained_hw: typical height and width of the training images.
        map_span: as of ``Tiling``.
    """

    input_hw: tuple[int, int]
    trained_hw: tuple[int, int]
    map_span: float | None = None

    def tiling(self, tiles: int | str, at_a_time: int = 8) -> Tiling:
        """Return the tiling of ``LocalizeOptions.tiles``; ``auto`` takes tiles as large as the training images.

        Raises:
            ConfigError: tiles are smaller than the input.
        """
        if tiles == "auto":
            return Tiling(self.trained_hw, at_a_time, self.map_span)
        side = int(tiles)
        if side < max(self.input_hw):
            raise ConfigError(
                f"tiles of {side} pixels are smaller than the network's input of {self.input_hw[1]} x "
                f"{self.input_hw[0]}: expected `tiles=auto` or a side of at least {max(self.input_hw)}"
            )
        return Tiling((side, side), at_a_time, self.map_span)
