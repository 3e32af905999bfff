"""Crops at the scale of training, put together to the map of a whole image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cdtr.errors import ConfigError
from cdtr.localization.tile_grid import cell_shares, grid_side, tile_offsets
from cdtr.records import Batch, Method, ModelOutput

_AT_A_TIME = 5  # tiles of an image in one forward pass, so that memory does not grow with their number


class TiledMethod(Method):
    """A method that looks at overlapping tiles of an image and stitches what it finds in them.

    Tiles of ``tile_hw`` pixels lie at even distances over an image of ``image_hw`` pixels, as few as cover it, and one
    more in the middle where none is there: five crops where the image is up to twice as large as a tile. Class scores
    are means over the tiles. A stitched map has cells of the size of the method's patches, each the mean over the tiles
    that show it.

    Args:
        method: what looks at a tile.
        tile_hw: height and width of its input, in pixels.
        image_hw: height and width of the images, in pixels, at least as large.
    """

    def __init__(self, method: Method, tile_hw: tuple[int, int], image_hw: tuple[int, int]) -> None:
        super().__init__()
        if tile_hw[0] > image_hw[0] or tile_hw[1] > image_hw[1]:
            raise ConfigError(f"tiles of {tile_hw} do not fit into images of {image_hw}: use smaller tiles")
        self.method = method
        self.tile_hw, self.image_hw = tile_hw, image_hw
        self.corners = tile_corners(tile_hw, image_hw)

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        """Run on normalised images (B, 3, H, W) of ``image_hw``; returns what the method returns for one image."""
        height, width = self.tile_hw
        tiles = [images[:, :, top : top + height, left : left + width] for top, left in self.corners]
        groups = [tiles[start : start + _AT_A_TIME] for start in range(0, len(tiles), _AT_A_TIME)]
        output = _joined([self.method(torch.cat(group), auxiliary=auxiliary) for group in groups])
        return ModelOutput(
            logits=self._mean(output.logits),
            maps=self._stitch(output.maps),
            attention=self._stitch(output.attention),
            aux={name: self._join(values) for name, values in output.aux.items()},
        )

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the method's losses of the stitched output."""
        return self.method.losses(output, batch)

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Weigh the terms as the method does."""
        return self.method.weigh(terms)

    def _mean(self, values: Tensor) -> Tensor:
        """Class scores (T * B, C) to (B, C)."""
        return self._by_tile(values).mean(dim=0)

    def _by_tile(self, values: Tensor) -> Tensor:
        """(T * B, ...) to (T, B, ...)."""
        tiles = len(self.corners)
        return values.reshape(tiles, values.shape[0] // tiles, *values.shape[1:])

    def _join(self, values: Tensor) -> Tensor:
        if values.ndim < 2:
            return values
        return self._mean(values) if values.ndim == 2 else self._stitch(values)

    def _stitch(self, maps: Tensor) -> Tensor:
        """Maps (T * B, ..., h, w) of tiles to (B, ..., gh, gw) of images."""
        rows = self._interpolation(0, maps.shape[-2]).to(maps)
        columns = self._interpolation(1, maps.shape[-1]).to(maps)
        seen = rows.sum(dim=2)[:, :, None] * columns.sum(dim=2)[:, None, :]  # (T, gh, gw), 1 where a tile shows it
        parts = self._by_tile(maps)
        share = seen / seen.sum(dim=0)
        placed = [
            row @ part @ column.T * weight
            for row, part, column, weight in zip(rows, parts, columns, share, strict=True)
        ]
        total: Tensor = torch.stack(placed).sum(dim=0)
        return total

    def _interpolation(self, axis: int, cells: int) -> Tensor:
        """(T, G, cells): each tile's cells to the image's along an axis, linear; 0 where the tile does not show it."""
        tile, image = self.tile_hw[axis], self.image_hw[axis]
        grid = grid_side(tile, image, cells)
        matrices = torch.zeros(len(self.corners), grid, cells)
        for matrix, corner in zip(matrices, self.corners, strict=True):
            shown, shares = cell_shares(corner[axis], tile, cells, image, grid)
            matrix[shown] = torch.from_numpy(shares)
        return matrices


def _joined(outputs: list[ModelOutput]) -> ModelOutput:
    """The outputs of several forward passes as one, image after image."""
    if len(outputs) == 1:
        return outputs[0]
    return ModelOutput(
        logits=torch.cat([one.logits for one in outputs]),
        maps=torch.cat([one.maps for one in outputs]),
        attention=torch.cat([one.attention for one in outputs]),
        aux={
            name: torch.cat([one.aux[name] for one in outputs]) if values.ndim else values
            for name, values in outputs[0].aux.items()
        },
    )


def tile_corners(tile_hw: tuple[int, int], image_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """Top and left of each tile, row by row, and last the middle one where none of them lies there."""
    tops, lefts = (tile_offsets(tile, image) for tile, image in zip(tile_hw, image_hw, strict=True))
    corners = [(top, left) for top in tops for left in lefts]
    middle = (image_hw[0] - tile_hw[0]) // 2, (image_hw[1] - tile_hw[1]) // 2
    return corners if middle in corners else [*corners, middle]


def tiled(method: Method, tile_hw: tuple[int, int], image_hw: tuple[int, int]) -> Method:
    """The method for images of ``image_hw``; itself where a tile is the whole image."""
    return method if tile_hw == image_hw else TiledMethod(method, tile_hw, image_hw)
