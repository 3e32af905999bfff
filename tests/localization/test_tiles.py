"""Stitching of tiles: places by hand, and maps against a slow look-up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cdtr.errors import ConfigError
from cdtr.localization.tiles import TiledMethod, tile_corners, tiled
from cdtr.records import ModelOutput


class Cells(nn.Module):
    """Maps that are the image itself, averaged over cells of 4 x 4 pixels; the class scores are its three means."""

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        maps = nn.functional.avg_pool2d(images, 4)
        return ModelOutput(images.mean(dim=(2, 3)), maps, maps[:, 0], {"x_out": maps, "scores": maps.mean(dim=(2, 3))})


@pytest.mark.parametrize(
    ("tile", "image", "expected"),
    [
        ((8, 8), (8, 8), [(0, 0)]),
        ((128, 128), (144, 144), [(0, 0), (0, 16), (16, 0), (16, 16), (8, 8)]),
        ((8, 8), (8, 12), [(0, 0), (0, 4), (0, 2)]),
        ((8, 8), (20, 20), [(top, left) for top in (0, 6, 12) for left in (0, 6, 12)]),
    ],
    ids=["one", "five-crops", "wide", "three-by-three"],
)
def test_corners_by_hand(tile: tuple[int, int], image: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    assert tile_corners(tile, image) == expected


def test_aligned_tiles_give_the_map_of_the_whole_image() -> None:
    """Tiles that start at whole cells, of a method that looks at nothing beyond a cell, stitch to the whole map."""
    images = torch.randn(2, 3, 24, 24)
    found = TiledMethod(Cells(), (16, 16), (24, 24))(images)
    whole = Cells()(images)
    torch.testing.assert_close(found.maps, whole.maps)
    torch.testing.assert_close(found.attention, whole.attention)
    torch.testing.assert_close(found.aux["x_out"], whole.aux["x_out"])
    assert found.aux["scores"].shape == (2, 3)


def test_many_tiles_are_looked_at_a_few_at_a_time() -> None:
    images = torch.randn(2, 3, 40, 40)
    seen: list[int] = []
    method = Cells()
    method.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    found = TiledMethod(method, (16, 16), (40, 40))(images)
    assert seen == [10, 8], "nine tiles of two images"
    torch.testing.assert_close(found.maps, Cells()(images).maps)
    torch.testing.assert_close(found.aux["x_out"], found.maps)


def test_class_scores_are_means_over_the_tiles() -> None:
    images = torch.randn(2, 3, 24, 24)
    tiles = [images[:, :, y : y + 16, x : x + 16] for y, x in [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)]]
    expected = torch.stack([tile.mean(dim=(2, 3)) for tile in tiles]).mean(dim=0)
    torch.testing.assert_close(TiledMethod(Cells(), (16, 16), (24, 24))(images).logits, expected)


def test_unaligned_tiles_are_looked_up_between_cells() -> None:
    """A ramp stays a ramp: 80 pixels in tiles of 64, and 90 in tiles of 80, whose corners lie between cells."""
    ramp = torch.linspace(0, 1, 80).repeat(1, 3, 80, 1)
    found = TiledMethod(Cells(), (64, 64), (80, 80))(ramp).maps[0, 0]
    assert found.shape == (20, 20)
    torch.testing.assert_close(found[10], Cells()(ramp).maps[0, 0][10], atol=0.01, rtol=0)
    odd = torch.linspace(0, 1, 90).repeat(1, 3, 90, 1)
    found = TiledMethod(Cells(), (80, 80), (90, 90))(odd).maps[0, 0]
    size = 90 / len(found)
    expected = ((torch.arange(len(found)) + 0.5) * size - 0.5) / 89
    torch.testing.assert_close(found[3], expected, atol=0.03, rtol=0)
    assert bool((found[3].diff() > 0).all())


def test_a_tile_as_large_as_the_image_is_the_method_itself() -> None:
    method = Cells()
    assert tiled(method, (16, 16), (16, 16)) is method
    assert isinstance(tiled(method, (16, 16), (24, 16)), TiledMethod)
    with pytest.raises(ConfigError, match="do not fit"):
        TiledMethod(method, (16, 16), (15, 24))
