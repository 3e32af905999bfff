from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cdtr.errors import DataError
from cdtr.records import Localization
from cdtr.reports.overlays import PREDICTED_COLOUR, TRUTH_COLOUR, heat_map, overlay, small_overlay


def localization(boxes, size_hw=(120, 160), names=("Black footed Albatross", "b")):
    height, width = size_hw
    score_map = np.linspace(0, 1, width, dtype=np.float32)[None].repeat(height, axis=0)
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    labels, scores = np.zeros(len(boxes), dtype=np.int64), np.full(len(boxes), 0.93, dtype=np.float32)
    return Localization("a", size_hw, boxes, labels, scores, score_map, 0, np.ones(2, dtype=np.float32), names)


def has_colour(image, colour):
    return (np.asarray(image) == colour).all(axis=2)


def test_heat_map_goes_from_blue_to_red_and_resizes():
    picture = heat_map(np.linspace(0.1, 0.9, 9)[None], (10, 90))
    assert picture.size == (90, 10)
    pixels = np.asarray(picture).astype(int)
    assert pixels[5, 0, 2] > pixels[5, 0, 0]
    assert pixels[5, -1, 0] > pixels[5, -1, 2]


def test_boxes_are_drawn_where_they_are():
    drawn = overlay(Image.new("RGB", (160, 120)), localization([[40, 50, 90, 100]]), [[100, 20, 150, 60]])
    rows, columns = np.nonzero(has_colour(drawn, PREDICTED_COLOUR))
    assert columns.min() == 40, "half-open: the end is not part of the box"
    assert rows.max() == 99, "half-open: the end is not part of the box"
    assert columns.max() == 89, "half-open: the end is not part of the box"
    rows, columns = np.nonzero(has_colour(drawn, TRUTH_COLOUR))
    assert columns.min() == 100
    assert rows.min() == 20
    assert columns.max() == 149
    assert rows.max() == 59


def test_no_box_is_the_blended_picture_alone():
    picture = Image.new("RGB", (160, 120), (100, 100, 100))
    before = picture.copy()
    drawn = np.asarray(overlay(picture, localization([])), dtype=float)
    heat = np.asarray(heat_map(localization([]).map), dtype=float)
    np.testing.assert_allclose(drawn, 0.55 * 100 + 0.45 * heat, atol=1.5)
    assert picture == before


@pytest.mark.parametrize("box", [[0, 0, 160, 120], [150, 110, 160, 120], [3, 4, 4, 5]], ids=["all", "corner", "pixel"])
def test_label_stays_readable_at_the_border(box):
    plain = overlay(Image.new("RGB", (160, 120)), localization([]))
    labelled = overlay(Image.new("RGB", (160, 120)), localization([box]))
    plate = has_colour(labelled, (20, 20, 20))
    assert plate.sum() > 200
    assert (np.asarray(labelled) > 180).all(axis=2).sum() > 20, "text"
    assert labelled.size == plain.size


@pytest.mark.parametrize("size_hw", [(1, 1), (8, 300), (1200, 900)])
def test_any_size_can_be_drawn(size_hw):
    height, width = size_hw
    found = localization([[0, 0, width, height]], size_hw, names=())
    assert overlay(Image.new("L", (width, height)), found).size == (width, height)


def test_picture_of_another_size_is_refused():
    with pytest.raises(DataError, match="source image"):
        overlay(Image.new("RGB", (10, 10)), localization([]))


def test_an_image_that_was_cut_into_tiles_is_scaled_down():
    found = localization([[2048, 512, 3072, 1024]], (2048, 4096))
    coarse = replace(found, map=found.map[::8, ::8])
    drawn = small_overlay(Image.new("RGB", (4096, 2048)), coarse)
    assert drawn.size == (2048, 1024)
    rows, columns = np.nonzero(has_colour(drawn, PREDICTED_COLOUR))
    assert [columns.min(), rows.min(), columns.max(), rows.max()] == [1024, 256, 1535, 511]
    small = small_overlay(Image.new("RGB", (160, 120)), localization([]))
    assert small.size == (160, 120)


def test_an_image_that_was_not_cut_keeps_its_size():
    drawn = small_overlay(Image.new("RGB", (3000, 30)), localization([], (30, 3000)))
    assert drawn.size == (3000, 30)


def test_an_image_without_an_object_is_shown_as_it_is_with_its_class():
    image = Image.new("RGB", (160, 120), (200, 10, 10))
    drawn = np.asarray(overlay(image, replace(localization([]), empty=True, object_prob=0.02)))
    assert (drawn[60:] == (200, 10, 10)).all(), "no heat map and no box"
    assert (drawn[:20] != (200, 10, 10)).any(axis=2).sum() > 100, "the class in the corner"
    heated = np.asarray(overlay(image, localization([])))
    assert (heated[60:] != (200, 10, 10)).any()
