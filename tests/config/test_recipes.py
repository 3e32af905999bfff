"""The names of recipes, and labels that tell changed settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from cdtr.config import (
    Config,
    beyond_paper,
    for_inference,
    is_paper,
    load_config,
    parse_config,
    preset_names,
    recipe_label,
    uses_prior_maps,
)
from cdtr.errors import ConfigError
from cdtr.model.methods import with_switches

DOCS = Path(__file__).resolve().parents[2] / "docs" / "fidelity.md"


def label(source: str | None, *overrides: str) -> str:
    return recipe_label(with_switches(load_config(source, overrides)))


def test_a_configuration_is_the_papers_unless_it_says_otherwise() -> None:
    assert Config().recipe == recipe_label(Config()) == "paper"
    assert beyond_paper(Config()) == {}


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_names_its_recipe(name: str) -> None:
    own = {"pretrain-small": "pretrain-small", "quickstart": "small"}
    own |= {name: name for name in ("imagenet", "deit-s", "dinov2-s", "dinov3-s", "trilite-small")}
    own |= {name: name for name in preset_names() if name.startswith("cnn-")}
    released = name.endswith("-official") or name.split("-")[0] in ("scm", "sat", "lctr", "trilite")
    kind = "official" if released else "small" if name.endswith("small") else "paper"
    expected = own.get(name, kind)
    assert load_config(name).recipe == expected
    prior = " + contrast prior instead of border prior" if name == "brain-tumor-small" else ""
    assert label(name) == expected + prior
    assert is_paper(label(name)) is (expected == "paper")


@pytest.mark.parametrize(
    ("source", "overrides", "expected"),
    [
        ("cub", ["guide.enabled=true", "ocm.prior=border"], "paper + guide + border prior"),
        ("cub", ["guide.enabled=true", "guide.attention=rarity"], "paper + guide + rarity prior"),
        ("cub", ["guide.enabled=true"], "paper + guide"),
        ("cub", ["maps.fuse=softplus"], "paper + softplus maps"),
        ("cub", ["maps.padding=replicate"], "paper + replicate padding"),
        ("cub", ["backbone.stem=conv"], "paper + convolutional stem"),
        ("cub", ["backbone.frozen=true"], "paper + frozen backbone"),
        ("dinov2-s", ["backbone.frozen=false"], "dinov2-s without frozen backbone"),
        ("cub", ["fidelity=official"], "official"),
        ("cub", ["fidelity=official", "recipe=paper"], "paper with fidelity official"),
        ("cub-official", ["recipe=official", "fidelity=paper"], "official with fidelity paper"),
        ("cub-official", ["guide.enabled=true"], "official + guide"),
        ("small", ["fidelity=official"], "small with fidelity official"),
        ("small", ["ocm.prior=none"], "small without border prior"),
        ("small", ["ocm.prior=none", "guide.enabled=false"], "small without guide and border prior"),
        ("small", ["ocm.prior=rarity"], "small + rarity prior instead of border prior"),
        ("small", ["method=tscam"], "small without border prior"),
        ("small", ["method=tscam", "guide.attention=border"], "small"),
        ("small", ["recipe=paper"], "paper + guide + border prior + convolutional stem + replicate padding"),
        ("cub", ["recipe=mine"], "mine (paper)"),
        ("cub", ["recipe=cub"], "cub (paper)"),
        ("cub-official", ["recipe=mine", "maps.fuse=softplus"], "mine (official + softplus maps)"),
    ],
)
def test_a_label_tells_what_was_changed(source: str, overrides: list[str], expected: str) -> None:
    assert label(source, *overrides) == expected
    assert is_paper(expected) is (expected == "paper")


def test_numbers_and_paths_change_no_label() -> None:
    assert label("small", "train.epochs=1", "sba.enabled=false", "backbone.weights=start.safetensors") == "small"


def test_an_own_file_names_its_own_recipe(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("extends: small\nrecipe: steel 2\nguide: {enabled: false}\nocm: {prior: none}\n")
    assert label(str(tmp_path / "own.yaml")) == "steel 2 (paper + convolutional stem + replicate padding)"


@pytest.mark.parametrize(
    ("source", "overrides", "expected"),
    [
        ("cub", [], "paper"),
        ("cub", ["maps.fuse=softplus"], "paper + softplus maps"),
        ("cub-official", [], "official"),
        ("small", [], "small"),
        ("small", ["method=tscam"], "small without border prior"),
        ("small", ["guide.enabled=false", "ocm.prior=none"], "small without guide and border prior"),
        ("cub", ["guide.enabled=true"], "small without border prior, convolutional stem and replicate padding"),
    ],
)
def test_a_run_from_before_gets_the_right_label(source: str, overrides: list[str], expected: str) -> None:
    config = with_switches(load_config(source, overrides))
    tree = yaml.safe_load(config.to_yaml())
    del tree["recipe"]
    assert recipe_label(parse_config(yaml.safe_dump(tree), "config.yaml")) == expected
    assert parse_config(config.to_yaml(), "config.yaml") == config, "a name that is there is kept"


@pytest.mark.parametrize("name", ["", " small", "small ", "a + b", "<b>", "a\\nb", "small|paper", "x" * 61])
def test_a_name_that_outputs_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="recipe"):
        load_config(None, changes={"recipe": name.replace("\\n", "\n")})


def test_every_switch_beyond_the_paper_is_in_the_label_and_in_the_docs() -> None:
    table = DOCS.read_text(encoding="utf-8").split("## Beyond the paper")[1].split("##")[0]
    documented = set(re.findall(r"`((?:guide|ocm|maps|backbone)\.\w+)", "\n".join(_first_cells(table))))
    changes = {
        "guide.enabled": "true",
        "ocm.prior": "border",
        "guide.attention": "border",
        "maps.fuse": "softplus",
        "maps.padding": "replicate",
        "backbone.stem": "conv",
        "backbone.frozen": "true",
    }
    assert documented == set(changes)
    guided = label("cub", "guide.enabled=true")
    assert not is_paper(guided)
    assert guided not in [
        label("cub", "guide.enabled=true", f"{k}={v}") for k, v in changes.items() if k != "guide.enabled"
    ]


def _first_cells(table: str) -> list[str]:
    return [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]


def test_a_run_from_before_the_switch_has_ski_as_it_was() -> None:
    """Its offsets came from attention as it is; it must not go on in training as something else."""
    now = Config().to_yaml()
    before = now.replace("  attention: scaled\n  pool: mean\n", "")
    assert before != now
    assert parse_config(before, "old").ski.attention == "raw"
    assert parse_config(now, "new").ski.attention == "scaled"


def with_maps(*overrides: str) -> list[str]:
    return ["ocm.prior=maps", "data.prior_maps=maps", *overrides]


@pytest.mark.parametrize(
    ("source", "overrides", "expected"),
    [
        (
            "cub",
            with_maps("guide.enabled=true", "data.prior_maps_taught_with=masks"),
            "paper + guide + prior maps (masks)",
        ),
        ("small", with_maps(), "small + prior maps (unknown) instead of border prior"),
        ("small", with_maps("method=tscam"), "small without border prior"),
        (
            "small",
            with_maps("method=tscam", "guide.attention=maps", "data.prior_maps_taught_with=no labels"),
            "small + prior maps (no labels) instead of border prior",
        ),
        ("small", ["data.prior_maps=maps", "data.prior_maps_taught_with=masks"], "small"),
    ],
    ids=["paper", "small", "no ocm", "attention", "not used"],
)
def test_a_label_says_what_maps_were_taught_with(source: str, overrides: list[str], expected: str) -> None:
    assert label(source, *overrides) == expected
    assert not is_paper(expected)


@pytest.mark.parametrize("words", ["'a|b'", "'<b>'", "''", "' masks'", f"'{'a' * 41}'", "'a+b'"])
def test_what_maps_were_taught_with_is_a_few_words(words: str) -> None:
    with pytest.raises(ConfigError, match="expected a few words such as labels, masks, boxes or nothing"):
        load_config("small", with_maps(f"data.prior_maps_taught_with={words}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=refined", "data.prior_maps=maps"], r"train it with `cdtr refine RUN"),
        (["method=refined", "refine.first=one"], r"train it with `cdtr refine RUN"),
        (["ocm.prior=maps"], r"a prior of maps needs data\.prior_maps: the folder"),
        (["method=tscam", "guide.attention=maps"], r"a prior of maps needs data\.prior_maps: the folder"),
        (with_maps("data.augment=official"), r"cannot follow data\.augment official, which warps images: use crop_fl"),
        (with_maps("guide.enabled=false"), r"ocm\.prior maps needs guide\.enabled: the guide is what learns"),
    ],
    ids=["refined-of-nothing", "refined-without-maps", "no folder", "no folder for attention", "official", "no guide"],
)
def test_maps_that_cannot_be_used_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_switches(load_config("small", overrides))


def test_a_trained_run_needs_no_maps() -> None:
    found = for_inference(load_config("small", with_maps()))
    assert not uses_prior_maps(with_switches(found))
