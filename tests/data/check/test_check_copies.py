"""Copies across and within splits, and under several classes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from made_sets import make_source, photo, save
from PIL import Image

from cdtr.data.check import Finding
from cdtr.data.check.copies import Copies, compare_images, find_duplicates
from cdtr.data.check.scan import scan_images
from cdtr.records import DataSource


def _look(source: DataSource, near: bool = True) -> tuple[dict[str, list[Finding]], Copies]:
    facts = scan_images(source, 10**6, near)
    copies = compare_images(facts)
    found: dict[str, list[Finding]] = {}
    for one in find_duplicates(source, facts, copies):
        found.setdefault(one.kind, []).append(one)
    return found, copies


@pytest.fixture
def source(tmp_path: Path) -> DataSource:
    """1 is in train twice, and in val; 2 is in val, and in train smaller; 3 is in train, also as PNG; 4 and 5 alone.

    6 is in train under both classes.
    """
    images = {f"train/{n}.jpg": ("train", 0) for n in (1, 3, 4, 6)}
    for name in images:
        save(photo(int(name[6])), tmp_path / name)
    for number in (2, 5):
        save(photo(number), tmp_path / f"val/{number}.jpg")
    (tmp_path / "val/6").mkdir()
    shutil.copy(tmp_path / "train/1.jpg", tmp_path / "train/1 again.jpg")
    shutil.copy(tmp_path / "train/1.jpg", tmp_path / "val/1.jpg")
    save(photo(2).resize((48, 32)), tmp_path / "train/2 small.jpg", quality=60)
    save(photo(3), tmp_path / "train/3.png")
    shutil.copy(tmp_path / "train/6.jpg", tmp_path / "train/dog.jpg")
    images |= {f"train/{name}": ("train", 0) for name in ("1 again.jpg", "2 small.jpg", "3.png")}
    images |= {f"val/{n}.jpg": ("val", 0) for n in (1, 2, 5)} | {"train/dog.jpg": ("train", 1)}
    return make_source(tmp_path, images)


def test_each_kind_of_copy_is_told(source: DataSource) -> None:
    found, copies = _look(source)
    assert {kind: [one.items for one in of] for kind, of in found.items()} == {
        "copies-across": [("train/1.jpg = val/1.jpg", "train/1 again.jpg = val/1.jpg")],
        "near-across": [("train/2 small.jpg = val/2.jpg",)],
        "copies-within": [("train/1.jpg = train/1 again.jpg", "train/6.jpg = train/dog.jpg")],
        "near-within": [("train/3.jpg = train/3.png",)],
        "labels-differ": [("train/6.jpg (cat) = train/dog.jpg (dog)",)],
    }
    assert found["copies-across"][0].message.startswith("1 images of val are also in train, there 2 times")
    assert found["near-across"][0].message.startswith("1 image of val, and 1 of train that look the same")
    assert "4 images have an equal file in the split, in all 2 files" in found["copies-within"][0].message
    assert [[one.sample.image_id for one in group] for group in copies.unequal_groups()] == [
        ["train/2 small.jpg", "val/2.jpg"],
        ["train/3.jpg", "train/3.png"],
    ]


def test_without_hashes_only_equal_files_are_found(source: DataSource) -> None:
    found, copies = _look(source, near=False)
    assert set(found) == {"copies-across", "copies-within", "labels-differ"}
    assert copies.unequal_groups() == []


def test_blank_pictures_are_copies_only_byte_for_byte(tmp_path: Path) -> None:
    for name, shade in {"a.png": 10, "b.png": 200, "c.png": 10}.items():
        save(Image.new("L", (40, 40), shade), tmp_path / name)
    save(photo(1), tmp_path / "d.png")
    labels = {"a.png": 0, "b.png": 1, "c.png": 0, "d.png": 0}
    found, _ = _look(make_source(tmp_path, {name: ("train", label) for name, label in labels.items()}))
    assert {kind: [one.items for one in of] for kind, of in found.items()} == {"copies-within": [("a.png = c.png",)]}


def test_broken_and_empty_files_are_no_copies(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    found, copies = _look(make_source(tmp_path, {"a.png": ("train", 0), "b.png": ("val", 0)}))
    assert found == {}
    assert len(copies.images) == 0


def test_many_equal_frames_are_one_node(tmp_path: Path) -> None:
    save(photo(1), tmp_path / "0.png")
    for number in range(1, 40):
        shutil.copy(tmp_path / "0.png", tmp_path / f"{number}.png")
    found, copies = _look(make_source(tmp_path, {f"{n}.png": ("train", 0) for n in range(40)}))
    assert copies.alike.shape == (1, 1)
    assert [len(one.items) for one in found["copies-within"]] == [1]
    assert np.unique(copies.content).size == 1
