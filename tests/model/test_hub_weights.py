"""What a training takes from timm's hub, said before; and one line where the hub does not give it."""

import re

import pytest
import timm
from safetensors import SafetensorError

from cdtr.config import CnnConfig, Config, DataConfig, PretrainConfig, load_config
from cdtr.errors import CheckpointError
from cdtr.model import hub_weights
from cdtr.model.backbone import build_backbone
from cdtr.model.cnn import build_cnn_features
from cdtr.model.hub_weights import hub_line, hub_lines
from cdtr.model.teacher import load_teacher


@pytest.fixture(autouse=True)
def cache(monkeypatch):
    """The files that the hub's cache on this machine has, as (hub id, file)."""
    kept = set()
    monkeypatch.setattr(
        hub_weights, "try_to_load_from_cache", lambda repo, file: "/kept" if (repo, file) in kept else None
    )
    return kept


@pytest.mark.parametrize(
    ("preset", "line"),
    [
        ("deit-s", r"of deit_small_patch16_224, once: timm/deit_small_patch16_224\.fb_in1k on the Hugging Face hub"),
        ("dinov2-s", r"of vit_small_patch14_dinov2, once: timm/vit_small_patch14_dinov2\.lvd142m on the Hugging Face"),
        (
            "dinov3-s",
            r"vit_small_patch16_dinov3, once: timm/vit_small_patch16_dinov3\.lvd1689m on .*, license dino",
        ),
    ],
)
def test_a_preset_says_what_it_fetches(preset, line):
    (found,) = hub_lines(load_config(preset))
    assert found.startswith("fetching the pretrained weights ")
    assert re.search(line, found)
    assert "\n" not in found


def test_what_was_fetched_before_is_not_fetched_again(cache):
    cache.add(("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors"))
    assert hub_line("vit_small_patch14_dinov2").startswith(
        "vit_small_patch14_dinov2 starts from timm/vit_small_patch14_dinov2.lvd142m on the Hugging Face hub"
    )
    assert "fetching" not in hub_line("vit_small_patch14_dinov2")


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        ({"weights": "none"}, []),
        ({"weights": "start.safetensors"}, []),
        ({"weights": "hub", "stem": "conv"}, []),  # refused when it is built
        ({"weights": "hub", "name": "no_such_model"}, []),
        ({"weights": "none", "stem": "cnn", "cnn": {"weights": "package"}}, []),
        ({"weights": "none", "stem": "cnn", "cnn": {"name": "resnet18", "weights": "hub"}}, ["resnet18"]),
        ({"weights": "hub"}, ["deit_small_patch16_224"]),
    ],
)
def test_only_what_is_taken_from_the_hub_is_named(backbone, names):
    lines = hub_lines(Config().updated(backbone=backbone))
    assert len(lines) == len(names)
    assert all(f" {name}" in line for name, line in zip(names, lines, strict=True))


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("cut off"), SafetensorError("bad header")])
@pytest.mark.parametrize(
    "build",
    [
        lambda: build_backbone(Config().backbone, DataConfig()),
        lambda: build_cnn_features(CnnConfig(name="resnet18", weights="hub"), DataConfig(), (14, 14)),
        lambda: load_teacher(PretrainConfig(teacher="resnet18", teacher_weights="hub"), DataConfig()),
    ],
    ids=["transformer", "cnn", "teacher"],
)
def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch, build, error):
    def unreachable(*_args, pretrained, **_kwargs):
        assert pretrained
        raise error

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(CheckpointError, match=r"^the weights of \w+ cannot be fetched from the hub .*, or set .*$"):
        build()


@pytest.mark.parametrize(
    ("preset", "grid_hw", "prefix"), [("deit-s", (14, 14), 1), ("dinov2-s", (16, 16), 1), ("dinov3-s", (14, 14), 5)]
)
def test_the_presets_have_the_shapes_of_their_networks(preset, grid_hw, prefix):
    config = load_config(preset, ["backbone.weights=none", "backbone.frozen=false", "backbone.overrides={depth: 2}"])
    backbone = build_backbone(config.backbone, config.data)
    assert backbone.grid_hw == grid_hw
    assert backbone.prefix_tokens == prefix
    assert backbone.dim == 384
    assert config.ocm.k <= len(timm.create_model(config.backbone.name).blocks)
