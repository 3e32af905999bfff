"""Where tiles and their cells lie: by hand, and against a slow look-up."""

from __future__ import annotations

import numpy as np
import pytest

from cdtr.errors import ConfigError
from cdtr.localization.tile_grid import MOST_TILES, TileScale, Tiling, cell_shares, grid_side, tile_offsets


@pytest.mark.parametrize(
    ("tile", "image", "overlap", "expected"),
    [
        (8, 8, 0.0, [0]),
        (8, 5, 0.5, [0]),
        (8, 20, 0.0, [0, 6, 12]),
        (8, 20, 0.5, [0, 4, 8, 12]),
        (8, 21, 0.5, [0, 3, 6, 10, 13]),
    ],
    ids=["one", "small-image", "even", "half", "half-and-a-pixel"],
)
def test_offsets_by_hand(tile: int, image: int, overlap: float, expected: list[int]) -> None:
    assert tile_offsets(tile, image, overlap) == expected


@pytest.mark.parametrize("image", [17, 100, 333, 1001])
def test_tiles_cover_the_image_and_overlap_as_asked(image: int) -> None:
    starts = tile_offsets(16, image, 0.5)
    assert starts[0] == 0
    assert starts[-1] + 16 == image
    assert max(np.diff(starts)) <= 8 + 1, "rounded to pixels"


@pytest.mark.parametrize(("start", "tile"), [(0, 8), (3, 8), (5.5, 7.25)])
def test_cells_are_looked_up_between_those_of_the_tile(start: float, tile: float) -> None:
    cells, image = 4, 21
    grid = grid_side(tile, image, cells)
    shown, shares = cell_shares(start, tile, cells, image, grid)
    values = np.array([3.0, -1.0, 4.0, 1.5])
    for index, row in zip(range(shown.start, shown.stop), shares, strict=True):
        centre = (index + 0.5) * image / grid
        assert start < centre < start + tile
        own = start + (np.arange(cells) + 0.5) * tile / cells
        assert row @ values == pytest.approx(np.interp(centre, own, values), abs=1e-5)
    outside = [i for i in range(grid) if start < (i + 0.5) * image / grid < start + tile]
    assert outside == list(range(shown.start, shown.stop))


@pytest.mark.parametrize(
    ("size_hw", "cut"),
    [((300, 150), False), ((301, 150), True), ((300, 151), True), ((40, 1000), True), ((1, 1), False)],
)
def test_only_images_of_more_than_one_and_a_half_tiles_are_cut(size_hw: tuple[int, int], cut: bool) -> None:
    assert Tiling((200, 100)).cuts(size_hw) is cut


def test_tiles_lie_in_the_image() -> None:
    boxes = np.array(Tiling((32, 64)).tiles((100, 50)))
    assert boxes[:, :2].min() == 0
    assert boxes[:, 2].max() == 50
    assert boxes[:, 3].max() == 100
    assert set(boxes[:, 3] - boxes[:, 1]) == {32}
    assert set(boxes[:, 2] - boxes[:, 0]) == {50}, "an image narrower than a tile gives tiles as narrow"


def test_too_many_tiles_are_refused_with_their_number() -> None:
    assert Tiling((200, 200)).fault((3000, 4000)) is None
    fault = Tiling((32, 32)).fault((4000, 4000))
    assert fault is not None
    assert fault.startswith("4000 x 4000 pixels are 62001 tiles of 32 x 32")
    assert str(MOST_TILES) in fault


def test_automatic_tiles_are_as_large_as_the_training_images() -> None:
    scale = TileScale((128, 160), (375, 500))
    assert scale.tiling("auto").tile_hw == (375, 500)
    assert scale.tiling(160, 3) == Tiling((160, 160), 3)
    with pytest.raises(ConfigError, match="tiles of 159 pixels are smaller than the network's input of 160 x 128"):
        scale.tiling(159)
