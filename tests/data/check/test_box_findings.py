"""Findings about boxes, beside an oracle that counts pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_sets import image_facts

from cdtr.data.check.box_findings import find_box_faults, is_empty, is_outside, overhangs
from cdtr.data.check.scan import BoxFacts
from cdtr.records import Annotation

WIDTH, HEIGHT = 96, 64


def _boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(corners, dtype=np.float64).reshape(-1, 4)


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        pytest.param((0, 0, 96, 64), None, id="whole"),
        pytest.param((0, 0, 97, 65), None, id="a-pixel-of-rounding"),
        pytest.param((-1, -1, 20, 20), None, id="a-pixel-before"),
        pytest.param((-1.5, 0, 90, 60), "outside", id="starts-before"),
        pytest.param((10, 10, 98, 60), "overhangs", id="slightly-over"),
        pytest.param((10, 10, 112, 60), "outside", id="far-over"),
        pytest.param((100, 10, 120, 60), "outside", id="beside"),
        pytest.param((10, 70, 20, 90), "outside", id="below"),
        pytest.param((90, 10, 98, 60), "outside", id="narrow-and-over"),
        pytest.param((10, 10, 10, 20), "empty", id="flat"),
        pytest.param((10, 20, 20, 10), "empty", id="inverted"),
        pytest.param((10, 10, np.nan, 20), "empty", id="no-number"),
        pytest.param((10, 10, np.inf, 20), "empty", id="infinite"),
    ],
)
def test_each_box_is_of_one_kind_at_most(box: tuple[float, float, float, float], kind: str | None) -> None:
    tests = {"empty": is_empty, "outside": is_outside, "overhangs": overhangs}
    found = [name for name, test in tests.items() if test(_boxes(box), (HEIGHT, WIDTH))[0]]
    assert found == ([kind] if kind else [])


@given(st.lists(st.tuples(*[st.integers(-8, 110)] * 2, *[st.integers(1, 60)] * 2), max_size=5))
def test_outside_agrees_with_counted_pixels(found: list[tuple[int, int, int, int]]) -> None:
    boxes = _boxes(*((x, y, x + w, y + h) for x, y, w, h in found))
    expected = []
    for x, y, w, h in found:
        pixels = [(column, row) for column in range(x, x + w) for row in range(y, y + h)]
        out = sum(not (0 <= column < WIDTH and 0 <= row < HEIGHT) for column, row in pixels)
        reach = max(-x, -y, x + w - WIDTH, y + h - HEIGHT)
        expected.append((out > 0.05 * len(pixels) and reach > 1) or x < -1 or y < -1)
    assert is_outside(boxes, (HEIGHT, WIDTH)).tolist() == expected


def _facts(name: str, boxes: np.ndarray | None, split: str = "val", fault: str | None = None) -> BoxFacts:
    return BoxFacts(image_facts(name, split), None if boxes is None else Annotation(boxes), fault)


def test_what_is_wrong_is_told_by_split() -> None:
    good = _boxes((1, 2, 30, 40))
    facts = [
        _facts("good", good, "train"),
        _facts("known", _boxes()),
        _facts("unknown", None),
        _facts("out", _boxes((1, 2, 30, 40), (90, 2, 190, 40))),
        _facts("flat", _boxes((5, 5, 5, 9))),
        _facts("bad", None, fault="bad.xml cannot be read"),
        _facts("worse", None, fault="worse.xml cannot be read"),
        _facts("over", _boxes((1, 2, 98, 40))),
    ]
    found = {one.kind: one for one in find_box_faults(facts)}
    assert {kind: one.items for kind, one in found.items()} == {
        "boxes-unreadable": ("bad", "worse"),
        "boxes-empty": ("flat",),
        "boxes-outside": ("out",),
        "boxes-overhang": ("over",),
        "boxes-missing": ("known", "unknown"),
    }
    assert found["boxes-unreadable"].message == ("val: bad.xml cannot be read, and the annotations of 1 image more")
    assert found["boxes-outside"].message.endswith("out of 96 x 64 has 90, 2, 190, 40")
    assert "in 2 of 7 images, 1 of these without any annotation" in found["boxes-missing"].message


def test_a_split_without_any_box_lacks_none() -> None:
    assert not list(find_box_faults([_facts("a", None, "train"), _facts("b", _boxes(), "train")]))
    assert not list(find_box_faults([]))


def test_images_of_classes_without_an_object_need_no_box() -> None:
    facts = [_facts("a", _boxes((1, 2, 30, 40))), _facts("b", None)]
    assert [one.kind for one in find_box_faults(facts)] == ["boxes-missing"]
    assert not list(find_box_faults(facts, empty={facts[1].image.sample.label}))
