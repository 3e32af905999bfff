"""Configuration: layers, what is refused and how, and the round trip through a run folder."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cdtr.config import Config, load_config, parse_config, preset_names
from cdtr.errors import ConfigError


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_survive_a_run_folder(name):
    config = load_config(name)
    assert parse_config(config.to_yaml(), "config.yaml") == config


def test_the_defaults_are_the_papers_on_cub():
    assert load_config("cub").updated(sba={"enabled": None}) == Config()
    assert load_config() == Config()


def test_ilsvrc_is_the_papers_second_column():
    config = load_config("ilsvrc")
    assert config.csm.g == 256
    assert config.ocm.p == 0.10
    assert config.ocm.k == 10
    assert config.sba.alpha == 0.01
    assert config.train.lr == 5e-4
    assert config.train.batch_size == 64
    assert config.train.epochs == 14


@pytest.mark.parametrize(
    ("name", "own", "released"),
    [
        ("cub-v2", {}, {}),
        ("openimages", {}, {}),
        ("brain-tumor", {"sba": {"enabled": True}}, {"data": {"holdout": 0.1}}),
        ("neu-det", {"sba": {"enabled": True}}, {"data": {"holdout": 0.1}}),
    ],
)
def test_where_the_paper_gives_no_numbers_they_are_cubs_and_say_so(name, own, released):
    assert load_config(name) == load_config("cub").updated(**own)
    official = load_config(f"{name}-official")
    assert official.updated(evaluation={"threshold": 0.20}) == load_config("cub-official").updated(**own, **released)
    assert official.evaluation.threshold is None  # 0.20 is the best on CUB's test set, and says nothing elsewhere


def test_the_small_presets_start_from_scratch():
    for name in ("neu-det-small", "brain-tumor-small", "cub-50-small", "tiny-imagenet-small"):
        config = load_config(name)
        assert config.backbone.weights == "none"
        assert config.backbone.stem == "conv"
        assert config.guide.enabled is True
    for name in ("cub-50-small", "tiny-imagenet-small"):
        assert load_config(name).sba.enabled is False


def test_a_pretrained_start_fits_every_small_preset():
    """Position embeddings are resampled to another grid; whatever else the backbone has must be the same."""
    start = load_config("pretrain-small").backbone
    for name in ("small", "neu-det-small", "brain-tumor-small", "cub-50-small", "tiny-imagenet-small"):
        assert load_config(name).backbone == start


@pytest.mark.parametrize("name", preset_names())
def test_a_typo_over_any_preset_names_the_nearest_key(name):
    with pytest.raises(ConfigError, match=r"unknown key 'ocm\.kk', did you mean 'ocm\.k'"):
        load_config(name, changes={"ocm": {"kk": 3}})


def test_private_presets_are_not_offered():
    assert {"cub", "ilsvrc", "small"} <= set(preset_names())
    assert not any(name.startswith("_") for name in preset_names())


def test_extends_chains_from_the_far_end(tmp_path):
    write(
        tmp_path,
        base="extends: small\ntrain: {epochs: 5, lr: 2.0e-3}\ndata: {workers: 0}",
        top="extends: base.yaml\ntrain: {epochs: 7}",
    )
    config = load_config(tmp_path / "top.yaml", ["train.batch_size=4"])
    assert config.train.epochs == 7  # from the file
    assert config.train.lr == 2e-3  # from what it extends
    assert config.data.workers == 0
    assert config.backbone.overrides == load_config("small").backbone.overrides  # from the preset below
    assert config.train.batch_size == 4  # from --set
    assert config.train.betas == (0.9, 0.99)  # from the defaults


def test_extends_is_relative_to_the_file_that_says_it(tmp_path):
    write(tmp_path, **{"base": "seed: 3", "a/base": "extends: ../base.yaml", "a/b/top": "extends: ../base.yaml"})
    # Two different files under the same relative name are no circle.
    assert load_config(tmp_path / "a" / "b" / "top.yaml").seed == 3


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"a": "extends: a.yaml"}, id="itself"),
        pytest.param({"a": "extends: b.yaml", "b": "extends: a.yaml"}, id="two"),
        pytest.param({"a": "extends: b.yaml", "b": "extends: c.yaml", "c": "extends: ./b.yaml"}, id="not-the-first"),
        pytest.param({"a": "extends: sub/b.yaml", "sub/b": "extends: ../a.yaml"}, id="folders"),
    ],
)
def test_circles_are_refused(tmp_path, files):
    write(tmp_path, **files)
    with pytest.raises(ConfigError, match=r"extend each other in a circle: .*a\.yaml -> "):
        load_config(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("train.lr=5e-4", "train.lr", 5e-4),
        ("train.lr=1E-3", "train.lr", 1e-3),
        ("train.lr=.5", "train.lr", 0.5),
        ("train.epochs=20", "train.epochs", 20),
        ("train.betas=[0.9, 0.95]", "train.betas", (0.9, 0.95)),
        ("train.betas=[9e-1,0.95]", "train.betas", (0.9, 0.95)),
        ("data.input_size=[128,96]", "data.input_size", (128, 96)),
        ("csm.enabled=true", "csm.enabled", True),
        ("csm.enabled=false", "csm.enabled", False),
        ("csm.enabled=off", "csm.enabled", False),
        ("csm.enabled=null", "csm.enabled", None),
        ("sba.enabled=auto", "sba.enabled", "auto"),
        ("sba.enabled=false", "sba.enabled", False),
        ("sba.pretrained=none", "sba.pretrained", "none"),
        ("backbone.weights=none", "backbone.weights", "none"),
        ("train.precision=bf16", "train.precision", "bf16"),
        ("train.precision=no", "train.precision", "no"),
        ("train.clip_norm=null", "train.clip_norm", None),
        ("backbone.overrides={depth: 3}", "backbone.overrides", {"depth": 3}),
        ("backbone.overrides.embed_dim=64", "backbone.overrides", {"embed_dim": 64}),
        ("sba.templates=['a {}', 'the {}']", "sba.templates", ("a {}", "the {}")),
        (" seed = 4", "seed", 4),
        ("sba.model=a=b", "sba.model", "a=b"),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" in value else "",
)
def test_overrides(override, key, expected):
    found = load_config(None, [override])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == expected
    assert type(found) is type(expected)


def test_the_last_override_wins_and_neighbours_stay():
    config = load_config("small", ["train.lr=1e-3", "train.lr=2e-3", "backbone.overrides.depth=2"])
    assert config.train.lr == 2e-3
    assert config.backbone.overrides == {**load_config("small").backbone.overrides, "depth": 2}


@pytest.mark.parametrize(
    ("overrides", "left"),
    [
        (["backbone.overrides=null"], {}),
        (["backbone.overrides=null", "backbone.overrides.depth=2"], {"depth": 2}),
        (["backbone.overrides.depth=2", "backbone.overrides=null"], {}),
    ],
    ids=["alone", "then-own", "at-last"],
)
def test_null_takes_a_presets_overrides_away(tmp_path, overrides, left):
    assert load_config("small", overrides).backbone.overrides == left
    write(tmp_path, own="extends: small\nbackbone: {overrides: null}")
    config = load_config(tmp_path / "own.yaml")
    assert config.backbone == load_config("small", ["backbone.overrides=null"]).backbone
    assert parse_config(config.to_yaml(), "config.yaml") == config
    assert load_config("small").updated(backbone={"overrides": None}).backbone.overrides == {}


@given(st.floats(1e-12, 1e6))
def test_every_way_python_prints_a_number_is_read_back(value):
    for text in (repr(value), f"{value:e}", f"{value:g}"):
        assert load_config(None, [f"train.lr={text}"]).train.lr == float(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs", r"`overrides=\['train\.epochs'\]`: expected key=value, such as train\.epochs=20"),
        ("=3", "expected key=value"),
        ("", "expected key=value"),
        ("train.betas=[1", "the value is not YAML"),
        ("train.epoch=3", r"unknown key 'train\.epoch', did you mean 'train\.epochs'\?; known here: train\.epochs, "),
        ("trian.epochs=3", r"unknown key 'trian', did you mean 'train'"),
        ("train..epochs=3", r"unknown key 'train\.'"),
        ("train=3", r"train = 3: expected keys below it, such as train\.epochs"),
        ("train=null", r"train = None: expected keys below it"),
        ("seed.more=3", r"seed = "),
        ("train.epochs=many", r"train\.epochs = 'many': .*integer"),
        ("train.epochs=0", r"train\.epochs = 0: .*greater than or equal to 1"),
        ("train.epochs=1.5", r"train\.epochs = 1\.5"),
        ("train.lr=-1", r"train\.lr = -1: .*greater than 0"),
        ("train.lr=nan", r"train\.lr = nan"),
        ("train.lr=.inf", r"train\.lr = inf"),
        ("ocm.p=1.5", r"ocm\.p = 1\.5"),
        ("data.input_size=224", r"data\.input_size = 224"),
        ("data.input_size=[224]", r"data\.input_size"),
        ("data.input_size=[0,-3]", r"data\.input_size"),
        ("sba.similarity=cosine", r"sba\.similarity = 'cosine': .*'clamp', 'softmax' or 'literal'"),
        ("sba.templates=['a photo']", r"sba\.templates = .*each template needs a \{\}"),
        ("sba.templates=[]", r"sba\.templates = .*each template needs a \{\}"),
        ("fidelity=papre", r"fidelity = 'papre': .*'paper' or 'official'"),
    ],
)
def test_bad_overrides_are_one_clear_line(override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("epochs", ", did you mean 'train.epochs'?"),
        ("lr", ", did you mean 'train.lr'?"),
        ("batch_size", ", did you mean 'train.batch_size' or 'evaluation.batch_size'?"),
        ("alpha", ", did you mean 'sba.alpha'?"),
        ("p", ", did you mean 'ocm.p'?"),
        ("epoch", ", did you mean 'train.epochs'?"),
        ("pretrain.lr", ", did you mean 'train.lr'?"),
        ("train.seed", ", did you mean 'seed'?"),
        ("train.weights", ", did you mean 'backbone.weights' or 'backbone.cnn.weights'?"),
        ("guide.weights", ", did you mean 'guide.weight'?"),
        ("csm.enabeld", ", did you mean 'csm.enabled'?"),
        ("ocm.kk", ", did you mean 'ocm.k'?"),
        ("pretrain.colour", ""),
    ],
)
def test_the_hint_is_by_the_last_part_near_by_or_in_the_whole_tree(key, hint):
    """``train.weights``: ``train.weight_decay`` is a little like it, but the very name is elsewhere."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"{key}=1"])
    assert str(caught.value).partition("; known here: ")[0] == f"overrides: unknown key {key!r}{hint}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "holds a list, expected keys and values"),
        ("just words", "holds a str"),
        ("a: [1", "is not YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML"),
        ("1: 2", "unknown key '1'"),
        ("train:", r"train = None: expected keys below it"),
    ],
    ids=["list", "text", "broken", "code", "number-key", "empty-section"],
)
def test_bad_files_are_one_clear_line(tmp_path, text, message):
    write(tmp_path, bad=text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(tmp_path / "bad.yaml")
    assert "\n" not in str(caught.value)
    assert "bad.yaml" in str(caught.value)


def test_an_empty_file_is_the_defaults(tmp_path):
    write(tmp_path, empty="# nothing yet\n")
    assert load_config(tmp_path / "empty.yaml") == Config()


def test_yaml_words_for_no_are_read_where_a_word_is_meant(tmp_path):
    write(tmp_path, plain="train: {precision: no}")
    assert load_config(tmp_path / "plain.yaml").train.precision == "no"


def test_unknown_presets_and_files_name_the_choices(tmp_path):
    with pytest.raises(
        ConfigError, match=r"unknown preset 'smal', did you mean 'small'\?; choose one of brain-tumor, .*cub, .*small"
    ):
        load_config("smal")
    with pytest.raises(
        ConfigError, match=r"no configuration file .*gone\.yaml: give a YAML file or one of the presets"
    ):
        load_config(tmp_path / "gone.yaml")
    write(tmp_path, top="extends: gone.yaml")
    with pytest.raises(ConfigError, match=r"no configuration file .*gone\.yaml"):
        load_config(tmp_path / "top.yaml")


def test_updated_is_a_checked_copy():
    config = Config()
    changed = config.updated(ocm={"p": 0.5}, seed=2)
    assert changed.ocm.p == 0.5
    assert changed.ocm.k == 9
    assert changed.seed == 2
    assert config == Config()
    with pytest.raises(ConfigError, match=r"unknown key 'ocm\.q'"):
        config.updated(ocm={"q": 1})


def test_the_tree_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]


@given(
    seed=st.integers(0, 2**31),
    lr=st.floats(1e-12, 10),
    enabled=st.sampled_from([True, False, None, "auto"]),
    template=st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12),
    clip_norm=st.none() | st.floats(1e-3, 1e3),
    precision=st.sampled_from(["no", "bf16", "fp16"]),
    overrides=st.dictionaries(st.sampled_from(["depth", "embed_dim"]), st.integers(1, 64)),
)
def test_a_resolved_configuration_round_trips(seed, lr, enabled, template, clip_norm, precision, overrides):
    config = Config().updated(
        seed=seed,
        train={"lr": lr, "clip_norm": clip_norm, "precision": precision},
        sba={"enabled": enabled, "templates": (template + "{}",)},
        backbone={"overrides": overrides},
    )
    text = config.to_yaml()
    assert parse_config(text, "config.yaml") == config
    assert list(yaml.safe_load(text)) == list(Config.model_fields)


def test_a_preset_of_the_same_name_as_a_file_needs_its_suffix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path(), small="seed: 9")
    assert load_config("small").seed == 0
    assert load_config("small.yaml").seed == 9


def test_a_file_that_is_not_utf8_is_one_clear_error(tmp_path):
    (tmp_path / "mine.yaml").write_bytes("sba: {templates: [caf\u00e9 with {}]}\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"mine\.yaml is not UTF-8 \(byte 21\): .*save it as UTF-8"):
        load_config(tmp_path / "mine.yaml")
