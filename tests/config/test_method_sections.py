"""Settings that belong to some methods, and the released settings of each."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from cdtr.config import Config, load_config, parse_config, recipe_label, specs_of
from cdtr.errors import ConfigError
from cdtr.model.methods import with_switches

OWN = {"scm": "scm", "sat": "sat", "lctr": "lctr", "trilite": "trilite", "cdtr_sat": "sat"}


@pytest.mark.parametrize(("method", "section"), OWN.items())
def test_a_method_brings_its_section_and_no_other(method: str, section: str) -> None:
    config = load_config("cub", [f"method={method}"])
    sections = {spec.name for spec in specs_of(config)} & set(OWN.values())
    assert sections == {section}
    assert set(config.model_dump()) - set(Config().model_dump()) == {section}
    assert parse_config(config.to_yaml(), "config.yaml") == config
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301
    assert getattr(type(config)(), section) == getattr(config, section)
    back = config.updated(method="cdtr")
    assert back.method == "cdtr"


def test_a_configuration_of_another_method_has_none() -> None:
    assert type(load_config("cub")) is Config
    with pytest.raises(ConfigError, match=r"unknown key 'scm\.step', did you mean 'scm\.steps'"):
        load_config("cub", ["method=scm", "scm.step=[1]"])


def test_a_section_that_a_file_shares_between_methods_is_kept(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("scm: {start: 0.001}\nsat: {area: 0.4}\n")
    assert load_config(tmp_path / "grid.yaml", ["method=tscam"]).method == "tscam"
    assert load_config(tmp_path / "grid.yaml", ["method=sat"]).model_dump()["sat"]["area"] == 0.4


@pytest.mark.parametrize("method", ["scm", "sat", "lctr", "trilite"])
@pytest.mark.parametrize("data", ["cub", "ilsvrc"])
def test_the_released_settings_are_of_the_method_alone(method: str, data: str) -> None:
    config = with_switches(load_config(f"{method}-{data}"))
    assert config.fidelity == "official"
    assert config.backbone.attention_reduce == "mean"
    assert recipe_label(config) == "official"
    assert config.data.holdout == (0 if config.evaluation.threshold is not None else 0.1)
    with pytest.raises(ConfigError, match=f"has the released settings of {method}, and those of cdtr are others"):
        load_config(f"{method}-{data}", ["method=cdtr"])
    with pytest.raises(ConfigError, match=f"has the released settings of cdtr, .* choose a preset of {method}"):
        load_config(f"{data}-official", [f"method={method}"])
    assert load_config(f"{data}-official", [f"method={method}", "fidelity=paper"]).method == method


def test_released_settings_without_a_preset_are_those_of_the_method() -> None:
    config = load_config("cub", ["method=scm", "fidelity=official"])
    assert config.data.augment == "crop_flip"
    assert config.train.schedule == "constant"
