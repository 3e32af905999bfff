"""The large images of the benchmark: defects lie where their boxes are, apart from each other, on calm steel."""

from __future__ import annotations

import numpy as np
import pytest

from large_image import GAP, PATCH, Defect, Drawn, Found, clean_steel, draw, measure, summarise

STEEL = [np.random.default_rng(0).normal(90, 3, (PATCH, PATCH)).astype(np.float32)]
DEFECT = Defect(np.full((40, 60), 30, dtype=np.float32), np.array([10.0, 10, 50, 30]), 2)


def test_steel_has_one_brightness_and_the_grain_of_its_pieces() -> None:
    steel = clean_steel((300, 400), STEEL, np.random.default_rng(1))
    assert steel.shape == (300, 400)
    assert steel.mean() == pytest.approx(128, abs=1)
    assert steel.std() == pytest.approx(3, abs=0.5)


def test_defects_lie_in_their_boxes_and_apart() -> None:
    pixels = DEFECT.pixels.copy()
    pixels[10:30, 10:50] = -60
    drawn = draw((600, 800), 8, (STEEL, [Defect(pixels, DEFECT.box, 2)]), np.random.default_rng(1))
    assert len(drawn.boxes) == 8
    assert drawn.labels == [2] * 8
    dark = drawn.pixels < 80
    assert dark.sum() == pytest.approx(8 * 20 * 40, rel=0.02)
    for x0, y0, x1, y1 in drawn.boxes.astype(int):
        assert dark[y0:y1, x0:x1].all()
        around = dark[max(y0 - GAP // 2, 0) : y1 + GAP // 2, max(x0 - GAP // 2, 0) : x1 + GAP // 2]
        assert around.sum() == 20 * 40


def test_recall_counts_defects_and_precision_boxes() -> None:
    drawn = Drawn(np.zeros((9, 9), np.uint8), np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]]), [1, 2])
    found = Found(np.array([[0.0, 0, 10, 9], [1, 0, 10, 10], [50, 50, 60, 60]]), [1, 0, 2])
    row = measure(found, drawn)
    assert row == {"defects": 2, "found": 1, "of_right_class": 1, "boxes": 3, "meeting": 2}
    nothing = measure(Found(np.zeros((0, 4)), []), drawn)
    assert nothing["found"] == nothing["boxes"] == 0
    total = summarise([row, nothing])
    assert total["recall"] == 25.0
    assert total["precision"] == 66.7
