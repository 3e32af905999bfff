"""Pictures in a protocol's frame: they lie where its maps and boxes lie."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cdtr.evaluation import find_protocol
from cdtr.evaluation.protocols import place_boxes, place_map
from cdtr.metrics.noise import NOISE_KINDS
from cdtr.reports.frame_images import NOISE_COLOURS, frame_image, under_map, under_noise, with_boxes

SIZE_HW = (300, 400)
BOX = np.array([[160.0, 120.0, 260.0, 210.0]])


def white_box() -> Image.Image:
    pixels = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
    x0, y0, x1, y1 = BOX[0].astype(int)
    pixels[y0:y1, x0:x1] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("name", ["wsol", "sat", "cdtr"])
def test_picture_map_and_boxes_coincide(name: str) -> None:
    protocol = find_protocol(name)
    picture = frame_image(white_box(), protocol)
    assert picture.size == (2 * protocol.frame_hw[1], 2 * protocol.frame_hw[0])
    rows, columns = np.nonzero(np.asarray(picture)[..., 0] > 127)
    (box,) = place_boxes(BOX, SIZE_HW, protocol)
    edges = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 2
    assert edges == pytest.approx(box, abs=1.5)
    inside = place_map(np.asarray(white_box())[..., 0] / 255, SIZE_HW, protocol)
    rows, columns = np.nonzero(inside > 0.5)
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == pytest.approx(box, abs=1.5)


def test_heat_is_over_the_high_values() -> None:
    grey = Image.new("RGB", (448, 448), (128, 128, 128))
    score_map = np.zeros((224, 224))
    score_map[:112] = 1
    pixels = np.asarray(under_map(grey, score_map)).astype(int)
    assert pixels[50, 200, 0] > pixels[50, 200, 2], "high is red"
    assert pixels[400, 200, 2] > pixels[400, 200, 0], "low is blue"


def test_each_kind_of_noise_has_its_colour_outside_the_boxes_alone() -> None:
    protocol = find_protocol("wsol")
    grey = frame_image(Image.new("RGB", (400, 300), (128, 128, 128)), protocol)
    regions = np.array([[0, 1], [2, 0]])
    attention = np.array([[1.0, 1.0], [1.0, 0.0]])
    true = np.array([[0.0, 0.0, 112.0, 56.0]])
    pixels = np.asarray(under_noise(grey, attention, regions, true, SIZE_HW, protocol)).astype(int)
    assert pixels[40, 40].tolist() == [128, 128, 128], "in the box"
    for place, kind in (((190, 60), "base"), ((60, 390), "novel"), ((390, 60), "own")):
        expected = 0.15 * 128 + 0.85 * np.array(NOISE_COLOURS[kind])
        assert pixels[place] == pytest.approx(expected, abs=8), kind
    faint = 0.85 * 128 + 0.15 * np.array(NOISE_COLOURS["base"])
    assert pixels[447, 447] == pytest.approx(faint, abs=8), "little attention"
    assert set(NOISE_COLOURS) == set(NOISE_KINDS)


def test_boxes_are_drawn_on_a_copy() -> None:
    picture = Image.new("RGB", (448, 448))
    drawn = np.asarray(with_boxes(picture, np.array([[10.0, 10.0, 60.0, 60.0]]), np.zeros((0, 4)))).astype(int)
    assert drawn[20, 70].argmax() == 1, "green, at twice the frame's pixels"
    assert not np.asarray(picture).any()


def test_nothing_is_coloured_beside_what_the_network_saw() -> None:
    protocol, field = find_protocol("wsol"), (50.0, 0.0, 350.0, 300.0)
    grey = frame_image(Image.new("RGB", (400, 300), (128, 128, 128)), protocol)
    ones = np.array([[1.0, 0.5], [1.0, 1.0]])
    none = np.zeros((0, 4))
    pixels = np.asarray(under_noise(grey, ones, np.zeros((2, 2), dtype=int), none, SIZE_HW, protocol, field)).astype(
        int
    )
    assert (pixels[:, :54] == 128).all()
    assert (pixels[:, -54:] == 128).all()
    assert pixels[300, 60, 0] > 190, "base"
