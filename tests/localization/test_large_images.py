"""Large images in tiles: drawn squares on seams, whose boxes, classes and maps are known, against their crops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cdtr.localization.boxes import iou_half_open
from cdtr.localization.large_images import localize_any, localize_large
from cdtr.localization.options import LocalizeOptions
from cdtr.localization.postprocess import MapPostProcessor
from cdtr.localization.prediction import localize_batch
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.quality import FEATURES, MIRROR, BoxQuality
from cdtr.localization.tile_grid import Tiling
from cdtr.localization.torch_model import TorchModel
from cdtr.records import Localization
from oracles.toy_methods import ImageIsMap

CLASSES = ("red", "green", "blue")
TILE = 60
TILING = Tiling((TILE, TILE), 4)
# Class and half-open box: one in a tile, one over the seams of four, one larger than the overlap, one in a corner.
SQUARES = [(0, (40, 40, 60, 64)), (1, (130, 84, 162, 128)), (2, (204, 20, 254, 60)), (1, (270, 170, 300, 200))]
SIZE_HW = (200, 300)


def drawn(squares: list[tuple[int, tuple[int, int, int, int]]], size_hw: tuple[int, int] = SIZE_HW) -> Image.Image:
    """Grey noise, as flat as clean steel, with squares of a class's colour."""
    noise = np.random.default_rng(0).integers(20, 26, size_hw)
    pixels = np.repeat(noise[..., None], 3, axis=2).astype(np.uint8)
    for label, (x0, y0, x1, y1) in squares:
        pixels[y0:y1, x0:x1, label] = 200
    return Image.fromarray(pixels)


def to_tensor(image: Image.Image) -> Tensor:
    resized = image.resize((20, 20), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1).float() / 25


class Counting(TorchModel):
    """Notes how many images are in each forward pass."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ImageIsMap(), to_tensor, CLASSES, **options)
        self.batches: list[int] = []

    def predict(self, images: Any, *arguments: Any, **options: Any) -> Any:
        self.batches.append(len(images))
        return super().predict(images, *arguments, **options)


def processor(quality: BoxQuality | None = None, **options: Any) -> MapPostProcessor:
    return MapPostProcessor(CLASSES, 0.5, LocalizeOptions(**options), quality)


def large(image: Image.Image, label: int | None = None, **options: Any) -> Localization:
    return localize_large(Counting(), processor(**options), TILING, image, "a", label)


def by_overlap(found: Localization, squares: list[tuple[int, tuple[int, int, int, int]]]) -> list[tuple[float, int]]:
    """For each square the best IoU of a box, and the class of that box."""
    overlap = iou_half_open([box for _, box in squares], found.boxes_xyxy)
    return [(float(row.max()), int(found.labels[row.argmax()])) for row in overlap]


def test_a_square_on_a_seam_is_one_box_of_its_class() -> None:
    found = large(drawn(SQUARES))
    assert len(found.boxes_xyxy) == len(SQUARES)
    for (overlap, label), (true_label, box) in zip(by_overlap(found, SQUARES), SQUARES, strict=True):
        assert overlap > 0.75, box
        assert label == true_label, box
    assert found.size_hw == SIZE_HW
    assert found.boxes_xyxy.dtype == found.scores.dtype == found.map.dtype == np.float32
    assert found.map.min() == 0
    assert found.map.max() == 1
    assert 0 < found.scores.min() <= found.scores.max() <= 1


def test_finds_at_least_what_its_crops_find() -> None:
    random = np.random.default_rng(3)
    squares = []
    for y in range(0, 480, 80):
        for x in range(0, 640, 80):
            height, width = random.integers(14, 44, 2)
            top, left = y + int(random.integers(0, 80 - height)), x + int(random.integers(0, 80 - width))
            squares.append((int(random.integers(3)), (left, top, left + int(width), top + int(height))))
    chosen = [squares[index] for index in random.permutation(len(squares))[:16]]
    image = drawn(chosen, (480, 640))
    crops = 0
    for _, (x0, y0, x1, y1) in chosen:
        left, top = (int(np.clip((a + b - TILE) / 2, 0, s - TILE)) for a, b, s in ((x0, x1, 640), (y0, y1, 480)))
        crop = image.crop((left, top, left + TILE, top + TILE))
        (alone,) = localize_batch(Counting(), processor(), [crop], ["a"])
        crops += bool((iou_half_open([(x0 - left, y0 - top, x1 - left, y1 - top)], alone.boxes_xyxy) >= 0.5).any())
    found = large(image)
    tiles = sum(overlap >= 0.5 for overlap, _ in by_overlap(found, chosen))
    assert crops >= 12, "the crops are worth comparing with"
    assert tiles >= crops
    assert len(found.boxes_xyxy) <= len(chosen), "no box on the empty steel"


def test_an_image_of_one_value_has_no_box() -> None:
    found = large(Image.new("RGB", (300, 200), (7, 7, 7)))
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.labels.shape == found.scores.shape == (0,)
    assert not found.map.any()
    assert found.class_probs.sum() == pytest.approx(1)


@pytest.mark.parametrize("noise", [2, 6], ids=["calm", "loud"])
def test_clean_steel_has_no_box_where_the_span_of_a_typical_image_is_known(noise: int) -> None:
    """Without it the noise is all that there is to compare with."""
    pixels = np.random.default_rng(0).integers(20, 20 + 4 * noise, (*SIZE_HW, 1)).repeat(3, axis=2).astype(np.uint8)
    known = Tiling((TILE, TILE), 4, map_span=7.0)
    clean = localize_large(Counting(), processor(), known, Image.fromarray(pixels), "a")
    assert clean.boxes_xyxy.shape == (0, 4)
    assert clean.map.max() < 0.5
    assert len(large(Image.fromarray(pixels)).boxes_xyxy) > 0
    found = localize_large(Counting(), processor(), known, drawn(SQUARES), "a")
    assert min(overlap for overlap, _ in by_overlap(found, SQUARES)) > 0.75
    assert len(found.boxes_xyxy) == len(SQUARES)


def test_tiles_are_predicted_a_few_at_a_time_and_the_map_is_coarser_than_the_image() -> None:
    model = Counting()
    found = localize_large(model, processor(), TILING, drawn(SQUARES, (400, 600)), "a")
    assert max(model.batches) == 4
    assert sum(model.batches) == len(TILING.tiles((400, 600)))
    wide = localize_large(Counting(), processor(), Tiling((200, 200)), drawn(SQUARES, (800, 1200)), "a")
    assert wide.map.shape == (320, 480), "20 cells a tile, 4 points a cell"
    assert found.map.shape == (400, 600), "never finer than the image"


def test_small_images_are_localized_as_ever_and_keep_their_place() -> None:
    images = [drawn(SQUARES), drawn([(2, (10, 10, 40, 50))], (80, 90)), drawn(SQUARES[1:]), drawn([], (90, 60))]
    names = ["a", "b", "c", "d"]
    found = localize_any(Counting(), processor(), TILING, images, names)
    assert [one.image_id for one in found] == names
    alone = localize_batch(Counting(), processor(), [images[1], images[3]], ["b", "d"])
    for one, other in zip([found[1], found[3]], alone, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.map, other.map)
    np.testing.assert_array_equal(found[0].boxes_xyxy, large(images[0]).boxes_xyxy)
    untiled = localize_any(Counting(), processor(), None, images[:1], ["a"])
    assert len(untiled[0].boxes_xyxy) == 1


def test_a_class_that_is_asked_for_is_looked_for_in_every_tile() -> None:
    found = large(drawn(SQUARES), label=1)
    assert found.labels.tolist() == [1, 1]
    assert found.map_label == 1
    overlaps = [overlap for overlap, _ in by_overlap(found, [SQUARES[1], SQUARES[3]])]
    assert min(overlaps) > 0.75


def test_the_smallest_region_is_a_share_of_a_tile() -> None:
    sides = [box[2] - box[0] for box in large(drawn(SQUARES), min_area_share=0.3).boxes_xyxy]
    assert min(sides) > 28, "the smallest square is 13% of a tile"
    assert len(sides) == 2


def test_masks_lie_in_their_boxes_at_the_size_of_the_image() -> None:
    found = large(drawn(SQUARES, (400, 600)), masks=True)
    assert found.masks is not None
    assert found.masks.shape == (len(found.boxes_xyxy), 400, 600)
    for mask, box in zip(found.masks, found.boxes_xyxy, strict=True):
        rows, columns = np.nonzero(mask)
        around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(around, box, atol=1)


def test_masks_of_many_boxes_lie_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = large(drawn(SQUARES), masks=True).masks
    monkeypatch.setattr("cdtr.localization.large_boxes._MOST_IN_MEMORY", 1000)
    in_file = large(drawn(SQUARES), masks=True).masks
    assert in_memory is not None
    assert isinstance(in_file, np.memmap)
    np.testing.assert_array_equal(in_file, in_memory)


@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirrored"])
def test_boxes_are_scored_in_a_window_of_a_tile(mirror: bool) -> None:
    """A logistic regression on the size alone: half where the box is a third of a tile, less for smaller ones."""
    features = (*FEATURES, MIRROR) if mirror else FEATURES
    weights = tuple(float(name == "size") for name in features)
    zeros, ones = (0.0,) * len(features), (1.0,) * len(features)
    quality = BoxQuality(features, zeros, ones, weights, (0.0,) * 3, 0.0, 100, 0.5)
    found = localize_large(Counting(), processor(quality), TILING, drawn(SQUARES), "a")
    assert found.doubts is not None
    shares = (found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]).prod(axis=1) / TILE**2
    np.testing.assert_allclose(found.scores, 3 * shares / (1 + 3 * shares), atol=0.05)
    some = localize_large(Counting(), processor(quality, min_score=0.4), TILING, drawn(SQUARES), "a")
    np.testing.assert_array_equal(some.scores, found.scores[found.scores >= 0.4])
    assert 0 < len(some.scores) < len(found.scores)


def test_a_view_of_the_middle_of_each_tile_is_put_where_it_is() -> None:
    """The network sees the inner half of a tile; the border of the image, which no tile's middle shows, stays empty."""

    def middle(image: Image.Image) -> Tensor:
        return to_tensor(image.crop((15, 15, 45, 45)))

    model = TorchModel(ImageIsMap(), middle, CLASSES, field=lambda _size_hw: (15, 15, 45, 45))
    inner = [(0, (100, 90, 118, 110)), (2, (200, 50, 216, 64))]
    found = localize_large(model, processor(), TILING, drawn(inner), "a")
    assert len(found.boxes_xyxy) == 2
    for (overlap, label), (true_label, _) in zip(by_overlap(found, inner), inner, strict=True):
        assert overlap > 0.6
        assert label == true_label
    assert not found.map[:10].any()


def test_tiles_of_a_class_without_an_object_get_no_box() -> None:
    blue = CLASSES.index("blue")
    chooses = MapPostProcessor(CLASSES, 0.5, LocalizeOptions(), None, EmptyClasses((blue,)))
    squares = [(0, (30, 40, 54, 64)), (blue, (200, 100, 230, 130))]
    found = localize_large(Counting(), chooses, TILING, drawn(squares), "a")
    assert not found.empty
    assert {CLASSES[label] for label in found.labels} == {"red"}
    assert by_overlap(found, squares[:1])[0][0] > 0.5
    assert by_overlap(found, squares[1:])[0][0] == 0
    of_blue = localize_large(Counting(), chooses, TILING, drawn(squares[1:]), "a")
    assert (of_blue.labels != blue).all()


def test_an_image_whose_tiles_are_all_without_an_object_is_empty() -> None:
    chooses = MapPostProcessor(CLASSES, 0.5, LocalizeOptions(), None, EmptyClasses((1, 2), 0.99))
    found = localize_large(Counting(), chooses, TILING, drawn([(1, (30, 40, 54, 64))]), "a")
    assert found.empty
    assert not len(found.boxes_xyxy)
    assert found.object_prob is not None
    assert found.object_prob < 0.99
