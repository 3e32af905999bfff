"""The options of localization, shared by name."""

from __future__ import annotations

from dataclasses import fields

import pytest

from cdtr.errors import ConfigError, DataError
from cdtr.localization.options import DEFAULT_OPTIONS, LocalizeOptions, OptionChanges


def test_the_names_for_type_checkers_are_those_of_the_options() -> None:
    assert list(OptionChanges.__annotations__) == [one.name for one in fields(LocalizeOptions)]


def test_single_options_are_changed_by_name() -> None:
    assert DEFAULT_OPTIONS.updated() is DEFAULT_OPTIONS
    assert DEFAULT_OPTIONS.updated(multi=True, top_k=2) == LocalizeOptions(multi=True, top_k=2)
    with pytest.raises(ConfigError, match="unknown option 'mutli', did you mean 'multi'"):
        DEFAULT_OPTIONS.updated(mutli=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("tiles", [None, "auto", 512, "512"])
def test_sizes_of_tiles(tiles: int | str | None) -> None:
    assert LocalizeOptions(tiles=tiles).tiles == tiles


@pytest.mark.parametrize("tiles", [0, -3, True, 2.5, "small", "", "-5", "9" * 5000])
def test_other_sizes_of_tiles_are_refused(tiles: int | str) -> None:
    with pytest.raises(ConfigError, match="expected auto, or the side of a tile in pixels"):
        LocalizeOptions(tiles=tiles)


def test_tiles_have_one_class_each() -> None:
    with pytest.raises(ConfigError, match="leave `top_k=` out"):
        LocalizeOptions(tiles="auto", top_k=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.0}, "map threshold 1.0"),
        ({"top_k": 0}, "top_k 0"),
        ({"min_area_share": 2}, "smallest area 2"),
        ({"min_score": -0.1}, "smallest score -0.1"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LocalizeOptions(**changes)  # type: ignore[arg-type]
