"""Findings about files, classes and sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_sets import image_facts, make_source

from cdtr.data.check import KINDS, require_kinds
from cdtr.data.check.image_findings import colour_kind, find_class_gaps, find_faults, find_odd_images
from cdtr.data.check.scan import Fault, ImageFacts
from cdtr.errors import ConfigError
from cdtr.image_files.paths import plain_name
from cdtr.records import DataSource


def _source(facts: list[ImageFacts]) -> DataSource:
    return make_source(Path(), {one.sample.image_id: (one.split, one.sample.label) for one in facts})


def test_faults_are_told_by_split_and_kind() -> None:
    facts = [
        image_facts("a", "train", size_hw=None, fault=Fault("broken", "a cannot be decoded")),
        image_facts("b", "train", size_hw=None, fault=Fault("broken", "b cannot be decoded")),
        image_facts("c", "val", size_hw=None, fault=Fault("empty", "c is empty")),
        image_facts("d"),
    ]
    found = list(find_faults(facts))
    assert [(one.kind, one.message, one.items) for one in found] == [
        ("broken", "train: a cannot be decoded, and 1 image more", ("a", "b")),
        ("empty", "val: c is empty", ("c",)),
    ]
    assert all(one.serious for one in found)


def test_a_class_that_no_image_can_be_read_of_is_empty() -> None:
    facts = [
        image_facts("a", label=0),
        image_facts("b", label=1, size_hw=None, fault=Fault("broken", "b")),
        image_facts("v", "val", label=1),
    ]
    found = {one.kind: one for one in find_class_gaps(_source(facts), facts)}
    assert found["class-empty"].items == ("dog",)
    assert found["class-empty"].serious
    assert found["class-missing"].message == "val has no readable image of cat"
    assert not found["class-missing"].serious
    assert "no-scores" not in found


@pytest.mark.parametrize(("dogs", "told"), [(10, True), (9, False)])
def test_ten_times_as_many_is_told(dogs: int, told: bool) -> None:
    facts = [image_facts("a", label=0), *(image_facts(f"d{n}", label=1) for n in range(dogs))]
    kinds = {one.kind for one in find_class_gaps(_source(facts), facts)}
    assert ("imbalance" in kinds) == told
    assert "no-scores" in kinds


def test_modes_and_sizes_that_stand_out() -> None:
    facts = [image_facts("a"), image_facts("b", mode="CMYK"), image_facts("c", mode="L", size_hw=(31, 40))]
    facts.append(image_facts("d", size_hw=(401, 100)))
    found = {one.kind: one for one in find_odd_images(facts)}
    assert found["modes-mixed"].items == ("c",)
    assert found["modes-mixed"].message.endswith("3 colour, 1 grey")
    assert found["sizes-extreme"].items == ("c", "d")
    assert not list(find_odd_images(facts[:2]))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "colour"), ("P", "colour"), ("1", "grey"), ("I;16", "grey"), ("LA", "with transparency")],
)
def test_modes_have_plain_names(mode: str, kind: str) -> None:
    assert colour_kind(mode) == kind


def test_an_unknown_kind_gets_the_nearest() -> None:
    require_kinds(KINDS)
    with pytest.raises(ConfigError, match=r"'boxes-outsid', did you mean 'boxes-outside'\?"):
        require_kinds(["boxes-outsid"])


def test_bytes_that_are_no_text_can_be_written() -> None:
    assert plain_name("bad\udcff.jpg") == "bad\\udcff.jpg"
    assert plain_name("軍艦鳥") == "軍艦鳥"
