"""Attention inside the true boxes against outside."""

from __future__ import annotations

import numpy as np
import pytest

from cdtr.metrics import ImageRow
from cdtr.metrics.attention import inside_outside_ratio, outside_shares, summarise_attention

ATTENTION = np.array([[4.0, 1.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[0, 0, 100, 50]], 4.0),
        ([[0, 0, 200, 50]], 2.5),
        ([[100, 0, 200, 100]], 1 / 2.5),
        ([[0, 0, 50, 25]], 4 / ((4 * 0.75 + 3) / 3.75)),
        ([[0, 0, 100, 50], [0, 0, 100, 50]], 4.0),
    ],
    ids=["one patch", "a row", "the dark column", "part of a patch", "the same box twice"],
)
def test_ratio(boxes: list[list[float]], expected: float) -> None:
    assert inside_outside_ratio(ATTENTION, boxes, (100, 200)) == pytest.approx(expected)


@pytest.mark.parametrize("boxes", [[], [[0, 0, 200, 100]], [[5, 5, 5, 5]]], ids=["no box", "everything", "nothing"])
def test_without_an_inside_or_an_outside_there_is_none(boxes: list[list[float]]) -> None:
    assert inside_outside_ratio(ATTENTION, boxes, (100, 200)) is None


@pytest.mark.parametrize(
    ("boxes", "attention", "area"),
    [([[0, 0, 100, 50]], 3 / 7, 3 / 4), ([[0, 0, 50, 25]], 6 / 7, 15 / 16), ([[100, 0, 200, 100]], 5 / 7, 1 / 2)],
    ids=["one patch", "part of a patch", "the dark column"],
)
def test_shares_outside(boxes: list[list[float]], attention: float, area: float) -> None:
    assert outside_shares(ATTENTION, boxes, (100, 200)) == pytest.approx((attention, area))
    uniform = outside_shares(np.full((2, 2), 0.1), boxes, (100, 200))
    assert uniform == pytest.approx((area, area)), "attention that does not care has its share of the area"


def test_no_shares_without_attention_or_an_outside() -> None:
    assert outside_shares(ATTENTION, [[0, 0, 200, 100]], (100, 200)) is None
    assert outside_shares(np.zeros((2, 2)), [[0, 0, 100, 50]], (100, 200)) is None
    assert outside_shares(np.full((2, 2), np.nan), [[0, 0, 100, 50]], (100, 200)) is None


def test_summary() -> None:
    rows = [ImageRow(f"{r}", 0, 0, 1.0, True, attention_ratio=r) for r in (0.5, 2.0, 3.0, None)]
    found = summarise_attention(rows)
    assert found is not None
    assert found.median_ratio == 2.0
    assert found.inverted == pytest.approx(100 / 3)
    assert found.n_images == 3
    assert summarise_attention(rows[3:]) is None
