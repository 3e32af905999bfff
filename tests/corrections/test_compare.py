"""What became of the boxes of a review."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdtr.corrections import compare, match_images
from cdtr.errors import DataError
from cdtr.formats import BoxFile
from cdtr.records import Box, ImageBoxes

CLASSES = ("cat", "dog")
BIG, SHIFTED, FAR, SMALL = (10, 10, 60, 60), (12, 10, 62, 60), (80, 80, 99, 99), (0, 0, 4, 4)


def image(*boxes: tuple[object, ...], names: tuple[str, ...] = ("a.jpg",)) -> ImageBoxes:
    return ImageBoxes(names, (100, 100), tuple(Box(*box) for box in boxes))


def kinds(ours: ImageBoxes, theirs: ImageBoxes) -> list[str]:
    return [change.kind for change in compare({"a.jpg": ours}, {"a.jpg": theirs}, CLASSES).changes]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([("cat", BIG)], [("cat", BIG)], ["kept"]),
        ([("cat", BIG)], [("cat", (10.1, 10, 60, 60))], ["kept"]),
        ([("cat", SMALL)], [("cat", (0.4, 0, 4.5, 4))], ["kept"]),
        ([("cat", SMALL)], [("cat", (0.6, 0, 4, 4))], ["moved"]),
        ([("cat", BIG)], [("cat", SHIFTED)], ["moved"]),
        ([("cat", BIG)], [("dog", BIG)], ["relabelled"]),
        ([("cat", BIG)], [("dog", SHIFTED)], ["relabelled"]),
        ([("cat", BIG)], [], ["deleted"]),
        ([], [("cat", BIG)], ["added"]),
        ([], [], []),
        ([("cat", BIG)], [("cat", FAR)], ["deleted", "added"]),
        ([("cat", BIG, "box-1")], [("cat", FAR, "box-1")], ["moved"]),
        ([("cat", BIG), ("dog", BIG)], [("dog", BIG), ("cat", BIG)], ["kept", "kept"]),
        ([("cat", BIG), ("cat", SHIFTED)], [("cat", SHIFTED)], ["kept", "deleted"]),
        ([("cat", BIG)], [("cat", BIG, "x"), ("cat", BIG, "y")], ["kept", "added"]),
        ([("cat", BIG)], [("cat", BIG, "box-1"), ("cat", FAR, "box-1")], ["kept", "added"]),
        ([("cat", BIG)], [("cat", BIG, "box-7")], ["kept"]),
    ],
    ids=[
        "same", "high IoU", "half a pixel", "more than half a pixel", "shifted", "other class", "both",
        "deleted", "added", "nothing", "far away", "far away but remembered", "two classes at a place", "one of two",
        "drawn twice", "remembered twice", "remembered as none of ours",
    ],
)  # fmt: skip
def test_kinds(ours: list[tuple[object, ...]], theirs: list[tuple[object, ...]], expected: list[str]) -> None:
    assert sorted(kinds(image(*ours), image(*theirs))) == sorted(expected)


def test_counts_by_class_and_accept_rates() -> None:
    written = {
        "a.jpg": image(("cat", BIG), ("cat", FAR)),
        "b.jpg": image(("dog", BIG)),
        "c.jpg": image(("cat", BIG)),
    }
    reviewed = {
        "a.jpg": image(("cat", BIG), ("dog", SMALL)),
        "b.jpg": image(("cat", BIG)),
    }
    review = compare(written, reviewed, CLASSES, n_unknown=3)
    assert review.n_reviewed == 2
    assert review.n_not_reviewed == 1
    assert review.n_unknown == 3
    found = review.to_json()
    assert found["classes"]["cat"] == {
        "boxes": 2, "kept": 1, "moved": 0, "relabelled": 0, "deleted": 1, "added": 0, "accept_rate": 50.0,
    }  # fmt: skip
    assert found["classes"]["dog"] == {
        "boxes": 1, "kept": 0, "moved": 0, "relabelled": 1, "deleted": 0, "added": 1, "accept_rate": 0.0,
    }  # fmt: skip
    assert found["total"]["boxes"] == 3
    assert [change["kind"] for change in found["changes"]] == ["deleted", "added", "relabelled"]
    assert compare(written, {"b.jpg": image()}, CLASSES).by_class["cat"].accept_rate is None


def test_a_class_that_nobody_knows_is_refused() -> None:
    with pytest.raises(DataError, match=r"'dgo'.*none of the classes \(cat, dog\)"):
        compare({"a.jpg": image()}, {"a.jpg": image(("dgo", BIG))}, CLASSES)


boxes = st.lists(
    st.tuples(
        st.sampled_from(CLASSES),
        st.tuples(*[st.integers(0, 40)] * 2).flatmap(
            lambda corner: st.tuples(st.just(corner[0]), st.just(corner[1]), st.integers(41, 99), st.integers(41, 99))
        ),
    ),
    max_size=5,
)


@given(boxes, boxes)
def test_every_box_is_counted_once(ours: list[tuple[object, ...]], theirs: list[tuple[object, ...]]) -> None:
    total = compare({"a.jpg": image(*ours)}, {"a.jpg": image(*theirs)}, CLASSES).total
    assert total.boxes == len(ours)
    assert total.kept + total.moved + total.relabelled + total.added == len(theirs)
    assert compare({"a.jpg": image(*ours)}, {"a.jpg": image(*ours)}, CLASSES).total.kept == len(ours)


WRITTEN = {name: image(names=(name,)) for name in ("a.jpg", "day/a.jpg", "day/b.jpg", "night/b.jpg", "day/deep/c.jpg")}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a.jpg",), "a.jpg"),
        (("photos/day/a.jpg",), "day/a.jpg"),
        (("photos/a.jpg",), "a.jpg"),
        (("c.jpg",), "day/deep/c.jpg"),
        (("deep\\c.jpg",), "day/deep/c.jpg"),
        (("strange.jpg", "night/b.jpg"), "night/b.jpg"),
    ],
)
def test_names_meet_by_their_end(names: tuple[str, ...], expected: str) -> None:
    found, unknown = match_images(WRITTEN, BoxFile((image(names=names),), None, {}), "file")
    assert list(found) == [expected]
    assert unknown == 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("b.jpg",), "may be day/b.jpg or night/b.jpg"),
        (("../a.jpg",), "points outside"),
        (("/etc/a.jpg",), "points outside"),
        (("C:\\a.jpg",), "points outside"),
        (("z.jpg",), "none of them"),
    ],
)
def test_names_that_mean_no_image(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_images(WRITTEN, BoxFile((image(names=names),), None, {}), "file")


def test_an_image_twice_or_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match=r"has a\.jpg twice"):
        match_images(WRITTEN, BoxFile((image(), image()), None, {}), "file")
    with pytest.raises(DataError, match="50 x 40 and 100 x 100"):
        match_images(WRITTEN, BoxFile((ImageBoxes(("a.jpg",), (40, 50), ()),), None, {}), "file")


def test_images_that_are_none_of_ours_are_counted() -> None:
    found, unknown = match_images(WRITTEN, BoxFile((image(), image(names=("new.jpg",))), None, {}), "file")
    assert list(found) == ["a.jpg"]
    assert unknown == 1
