"""One matcher of image names for all readers, beside an oracle that compares every pair."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdtr.errors import DataError
from cdtr.image_names import NameIndex, relative_name

NAMES = st.lists(st.sampled_from(["a", "b", "train", "val"]), min_size=1, max_size=3).map("/".join)


@pytest.mark.parametrize(
    ("ids", "name", "found"),
    [
        pytest.param(["train/a.jpg", "val/a.jpg"], "val/a.jpg", ["val/a.jpg"], id="whole"),
        pytest.param(["train/a.jpg", "val/a.jpg"], "a.jpg", ["train/a.jpg", "val/a.jpg"], id="two"),
        pytest.param(["x/a.jpg"], "photos/x/a.jpg", ["x/a.jpg"], id="longer"),
        pytest.param(["a.jpg", "x/a.jpg"], "photos/x/a.jpg", ["x/a.jpg"], id="longest"),
        pytest.param(["x/ba.jpg"], "a.jpg", [], id="part-of-a-name"),
        pytest.param(["x/A.JPG"], "x/a.jpg", ["x/A.JPG"], id="case"),
        pytest.param(["A.jpg", "a.jpg"], "a.jpg", ["a.jpg"], id="case-matters-where-it-tells"),
        pytest.param(["u\u0308.jpg"], "\u00fc.jpg", ["u\u0308.jpg"], id="accents"),
        pytest.param(["a.jpeg"], "a.jpg", ["a.jpeg"], id="suffix"),
        pytest.param(["a.jpg"], "a", ["a.jpg"], id="no-suffix"),
        pytest.param(["a.1.jpg"], "a.1", ["a.1.jpg"], id="number-is-no-suffix"),
        pytest.param(["a.jpg", "a.1.jpg"], "a.1", ["a.1.jpg"], id="number-and-stem"),
        pytest.param(["a.jpg", "a.png"], "a.png", ["a.png"], id="suffix-tells"),
        pytest.param(["a.jpg", "a.png"], "a.bmp", ["a.jpg", "a.png"], id="suffix-tells-nothing"),
        pytest.param(["a.jpg"], "", [], id="empty"),
    ],
)
def test_names_and_what_they_mean(ids: list[str], name: str, found: list[str]) -> None:
    assert NameIndex(ids).find(name) == found


@given(st.lists(NAMES, unique=True, min_size=1), NAMES)
def test_a_name_meets_what_it_ends_with_or_what_ends_with_it(ids: list[str], name: str) -> None:
    def alike(one: str) -> bool:
        first, second = PurePosixPath(one).parts, PurePosixPath(name).parts
        return first[-len(second) :] == second or second[-len(first) :] == first

    found = NameIndex(ids).find(name)
    assert set(found) <= set(filter(alike, ids))
    assert bool(found) == any(map(alike, ids))


@given(st.text(min_size=1).filter(lambda text: "/" not in text and text not in (".", "..")))
def test_every_name_finds_itself_however_its_accents_are_coded(name: str) -> None:
    index = NameIndex([f"x/{name}"])
    for form in ("NFC", "NFD"):
        assert index.find(unicodedata.normalize(form, f"x/{name}")) == [f"x/{name}"]


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "C:\\a.jpg", "x\\..\\..\\a.jpg"])
def test_names_that_leave_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="points outside the folder"):
        relative_name(name, "x.json", "the folder")
