"""The bundle ``fidelity: official`` against the table of where the released code differs from the paper."""

import re
from pathlib import Path

import pytest

from cdtr.config import Config, load_config, parse_config
from cdtr.evaluation.protocols import PROTOCOLS

# Row of the table, key, the paper's value, the released code's value.
ROWS = [
    (1, "sba.prompt_by", "label", "batch_position"),
    (1, "sba.templates", ("a photo of {}",), ("a photo of {}.",)),
    (2, "ski.offsets_from", "csm", "out"),
    (2, "ski.attention", "scaled", "raw"),
    (3, "backbone.attention_reduce", "mean", "sum_heads"),
    (4, "ocm.suppress", "scaled", "official"),
    (5, "ocm.awaken", "scaled", "official"),
    (7, "ocm.norm_momentum", 0.01, 0.1),
    (8, "sba.mask", "scaled", "fused"),
    (8, "sba.align_corners", False, True),
    (8, "sba.mask_scaling", "minmax", "none"),
    (9, "sba.xi", 1e-8, 0.0),
    (10, "sba.image", "renormalised", "as_is"),
    (12, "train.lr_rule", "as_given", "per_512"),
    (12, "train.betas", (0.9, 0.99), (0.9, 0.999)),
    (12, "train.weight_decay", 5e-4, 0.05),
    (12, "train.schedule", "cosine", "cosine_by_epoch"),
    (12, "train.min_lr", 1e-6, 1e-5),
    (12, "train.clip_norm", 5.0, None),
    (12, "backbone.drop_path", 0.0, 0.1),
    (13, "data.augment", "crop_flip", "official"),
    (13, "data.repeats", 1, 3),
    (19, "data.holdout", 0.1, 0.0),
    (15, "evaluation.threshold", None, 0.20),
    (16, "weighting.epsilon", 0.01, 0.0),
    (17, "csm.upsample", "size", "factor2"),
]
# Rows whose starting point is what was released.
AGREED = [
    (6, "csm.width_factor", 2),
    (6, "csm.norm", True),
    (7, "ocm.blocks", "first"),
    (7, "ocm.norm", True),
    (9, "sba.similarity", "clamp"),
    (11, "sba.model", "ViT-B-32-quickgelu"),
    (11, "sba.pretrained", "openai"),
    (12, "train.warmup_epochs", 5.0),
    (12, "train.warmup_lr", 1e-6),
    (16, "weighting.decay", False),
    (18, "maps.evidence", "sum"),
]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "fidelity.md"


def value(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config


def flat(tree, path=()):
    for key, below in tree.items():
        if isinstance(below, dict) and key != "overrides":
            yield from flat(below, (*path, key))
        else:
            yield ".".join((*path, key)), below


@pytest.mark.parametrize(("row", "key", "paper", "official"), ROWS, ids=[f"{row}-{key}" for row, key, *_ in ROWS])
def test_official_changes_the_row(row, key, paper, official):
    assert value(Config(), key) == paper
    assert value(load_config(None, ["fidelity=official"]), key) == official


@pytest.mark.parametrize(("row", "key", "both"), AGREED, ids=[f"{row}-{key}" for row, key, _ in AGREED])
def test_both_bundles_agree_on_the_row(row, key, both):
    assert value(Config(), key) == both
    assert value(load_config(None, ["fidelity=official"]), key) == both


def test_official_changes_nothing_else():
    paper = dict(flat(Config().model_dump()))
    official = dict(flat(load_config(None, ["fidelity=official"]).model_dump()))
    changed = {key for key in paper if paper[key] != official[key]} - {"evaluation.protocol", "evaluation.view"}
    assert changed == {key for _, key, *_ in ROWS} | {"fidelity", "recipe"}


def test_every_row_of_the_table_is_covered():
    rows = {int(row) for row in re.findall(r"^\| (\d+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE)}
    assert {row for row, *_ in ROWS + AGREED} | {14} == rows
    assert rows == set(range(1, len(rows) + 1))


def test_row_14_names_the_released_protocol():
    official = load_config(None, ["fidelity=official"]).evaluation.protocol
    assert Config().evaluation.protocol == "wsol"
    assert official == "cdtr"
    assert official in PROTOCOLS
    assert load_config(None, ["fidelity=official"]).evaluation.view == PROTOCOLS[official].view == "crop"


def test_row_18_is_released_for_ilsvrc_alone():
    assert load_config("cub-official").maps.evidence == "sum"
    assert load_config("ilsvrc").maps.evidence == "sum"
    assert load_config("ilsvrc-official").maps.evidence == "mean"


def test_what_a_configuration_says_itself_wins_over_the_bundle(tmp_path):
    (tmp_path / "own.yaml").write_text("fidelity: official\nsba: {mask: literal}\n")
    config = load_config(tmp_path / "own.yaml", ["ski.offsets_from=csm"])
    assert config.sba.mask == "literal"
    assert config.ski.offsets_from == "csm"
    assert config.sba.image == "as_is"


@pytest.mark.parametrize("where", ["preset-below", "override"])
def test_the_bundle_lies_under_a_preset(tmp_path, where):
    if where == "override":
        config = load_config("ilsvrc", ["fidelity=official"])
    else:
        (tmp_path / "own.yaml").write_text("fidelity: official\nextends: ilsvrc\n")
        config = load_config(tmp_path / "own.yaml")
    assert config.csm.g == 256
    assert config.train.lr == 5e-4
    assert config.train.betas == (0.9, 0.999)


def test_paper_said_last_takes_the_bundle_away(tmp_path):
    (tmp_path / "own.yaml").write_text("fidelity: official\n")
    assert load_config(tmp_path / "own.yaml", ["fidelity=paper"]) == Config()


def test_a_resolved_official_configuration_is_read_as_it_was_written():
    config = load_config(None, ["fidelity=official", "ski.offsets_from=csm"])
    assert parse_config(config.to_yaml(), "config.yaml") == config


@pytest.mark.parametrize(
    ("preset", "peak", "threshold", "scaling"),
    [("cub-official", 5e-5, 0.20, "none"), ("ilsvrc-official", 2.5e-4, 0.19, "minmax")],
    ids=["cub", "ilsvrc"],
)
def test_official_presets_have_the_released_values(preset: str, peak: float, threshold: float, scaling: str) -> None:
    config = load_config(preset)
    assert config.train.lr * config.train.batch_size / 512 == pytest.approx(peak)
    assert config.train.lr_rule == "per_512"
    assert config.train.warmup_epochs == 5
    assert config.evaluation.threshold == threshold
    assert config.sba.mask_scaling == scaling


@pytest.mark.parametrize(
    ("preset", "holdout", "threshold"),
    [
        ("cub-official", 0, 0.20),
        ("ilsvrc-official", 0, 0.19),
        ("cub-v2-official", 0, None),
        ("openimages-official", 0, None),
        ("neu-det-official", 0.1, None),
        ("brain-tumor-official", 0.1, None),
    ],
)
def test_images_are_held_out_where_no_threshold_is_known(preset: str, holdout: float, threshold: float | None) -> None:
    config = load_config(preset)
    assert config.data.holdout == holdout
    assert config.evaluation.threshold == threshold


@pytest.mark.parametrize("preset", ["neu-det", "brain-tumor", "neu-det-official", "brain-tumor-official"])
def test_table_14_trains_sba_whatever_clip_knows(preset: str) -> None:
    assert load_config(preset).sba.enabled is True
