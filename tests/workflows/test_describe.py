"""Which preset a run is said to be of, and what was changed from it."""

from __future__ import annotations

import pytest

from cdtr.config import load_config
from cdtr.workflows.describe import _changes, _nearest_preset

TINY = ("data.input_size=[64, 64]", "data.resize=[72, 72]", "sba.enabled=false", "train.epochs=1")
SMALLER = {"data.input_size": [64, 64], "data.resize": [72, 72], "sba.enabled": False, "train.epochs": 1}


@pytest.mark.parametrize(
    ("preset", "overrides", "changed"),
    [
        ("small", (), {}),
        ("small", TINY, SMALLER),
        ("neu-det-small", ("train.lr=0.5",), {"train.lr": 0.5}),
        ("imagenet", ("train.epochs=60",), {"train.epochs": 60}),
        ("imagenet", ("method=cdtr",), {"method": "cdtr"}),
        ("tiny-imagenet-small", (), {}),
        ("cub", ("seed=1",), {"seed": 1}),
        ("cub-official", (), {}),
    ],
    ids=["small", "near-another", "of-a-data-set", "default", "method", "more-settings", "paper", "official"],
)
def test_the_preset_is_found_by_its_settings(
    preset: str, overrides: tuple[str, ...], changed: dict[str, object]
) -> None:
    config = load_config(preset, overrides)
    assert _nearest_preset(config, {}) == preset
    assert _changes(load_config(preset), config) == changed


def test_a_recipe_of_ones_own_has_the_preset_that_it_is_the_most_like() -> None:
    config = load_config("imagenet", ["recipe=mine", "ocm.prior=border"])
    assert _nearest_preset(config, {}) == "imagenet"


def test_a_training_that_settled_what_was_left_open_has_changed_nothing() -> None:
    asked = load_config("small")
    settled = asked.updated(sba={"enabled": False})
    assert _nearest_preset(settled, {"requested_config": asked.to_yaml()}) == "small"
