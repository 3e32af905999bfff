"""Weights files: formats, wrappings, what does not fit, and what must not run."""

import argparse
import io
import pickle
import random
import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from cdtr.config import BackboneConfig, DataConfig
from cdtr.errors import CheckpointError, ConfigError
from cdtr.model.backbone import build_backbone
from cdtr.model.notes import with_notes
from cdtr.model.weights import check_fit, read_state_dict

TINY = {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": 8}


def make(weights="none", size=(32, 32), name="vit_tiny_patch16_224", stem="patch", **overrides):
    config = BackboneConfig(name=name, stem=stem, weights=str(weights), overrides={**TINY, **overrides})
    return build_backbone(config, DataConfig(input_size=size))


def start_file(path, size, noted=True, name="vit_tiny_patch16_224", **more):
    """A file as `cdtr pretrain` writes it. Position embeddings: 7 at prefix tokens, and over the patches a ramp from 0
    at the left border of the image to 1 at the right one, the same in each row."""
    source = make(size=size, name=name, **more)
    height, width = source.grid_hw
    ramp = (torch.arange(float(width)) + 0.5) / width
    positions = source.vit.pos_embed.data
    positions[:, -height * width :] = ramp[None, :, None].expand(height, width, 48).reshape(1, -1, 48)
    positions[:, : -height * width] = 7
    notes = with_notes({"input_size": "x".join(map(str, size))}) if noted else None
    save_file(source.vit.state_dict(), path, metadata=notes)
    return source


def positions_of(backbone):
    """(h, w), the first channel."""
    height, width = backbone.grid_hw
    return backbone.vit.pos_embed.data[0, -height * width :, 0].reshape(height, width)


def states_equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="bare"),
        pytest.param(lambda s: {"model": s}, id="model"),
        pytest.param(lambda s: {"state_dict": s, "epoch": 3}, id="state_dict"),
        pytest.param(lambda s: {"model": {f"module.{k}": v for k, v in s.items()}}, id="module-prefix"),
        pytest.param(
            lambda s: {"model": {**s, "head.weight": torch.zeros(1000, 48), "head.bias": torch.zeros(1000)}}, id="head"
        ),
    ],
)
def test_pth_files_load(tmp_path, wrap):
    source = make()
    torch.save(wrap(source.vit.state_dict()), tmp_path / "w.pth")
    loaded = make(tmp_path / "w.pth")
    assert states_equal(source.vit.state_dict(), loaded.vit.state_dict())
    assert not states_equal(source.vit.state_dict(), make().vit.state_dict())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"], ids=["vit", "dinov3"])
def test_safetensors_load(tmp_path, name):
    source = make(name=name)
    save_file(source.vit.state_dict(), tmp_path / "w.safetensors")
    loaded = make(tmp_path / "w.safetensors", name=name)
    assert states_equal(source.vit.state_dict(), loaded.vit.state_dict())


def test_load_weights_false_does_not_read_the_file(tmp_path):
    config = BackboneConfig(name="vit_tiny_patch16_224", weights=str(tmp_path / "gone.pth"), overrides=TINY)
    assert build_backbone(config, DataConfig(input_size=(32, 32)), load_weights=False).grid_hw == (4, 4)


def test_position_embeddings_are_resampled_to_the_grid(tmp_path):
    source = make()
    ramp = torch.arange(4.0)[None, :, None].expand(4, 4, 48)  # grows from left to right only
    source.vit.pos_embed.data[:, 1:] = ramp.reshape(1, 16, 48)
    source.vit.pos_embed.data[:, 0] = 7
    torch.save(source.vit.state_dict(), tmp_path / "w.pth")
    loaded = make(tmp_path / "w.pth", size=(32, 64))
    assert loaded.grid_hw == (4, 8)
    assert (loaded.vit.pos_embed[:, 0] == 7).all()
    grid = loaded.vit.pos_embed.data[0, 1:].reshape(4, 8, 48)
    torch.testing.assert_close(grid, grid[:1, :, :1].expand(4, 8, 48), rtol=1e-3, atol=1e-3)
    assert (grid[0, :, 0].diff() > 0).all()
    assert float(grid.mean()) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize("stem", ["patch", "conv"])
@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((64, 64), (32, 128)),
        ((32, 128), (64, 64)),
        ((64, 128), (64, 64)),
        ((64, 128), (128, 64)),
        ((32, 64), (64, 128)),
    ],
    ids=["square-to-wide", "wide-to-square", "no-square-number", "turned", "finer"],
)
def test_a_start_of_any_grid_is_resampled_from_its_own(tmp_path, stem, before, now):
    start_file(tmp_path / "w.safetensors", before, stem=stem)
    loaded = make(tmp_path / "w.safetensors", size=now, stem=stem)
    (height, width), grid = loaded.grid_hw, positions_of(loaded)
    ramp = (torch.arange(float(width)) + 0.5) / width
    torch.testing.assert_close(grid, ramp.expand(height, width), rtol=0, atol=0.05)
    assert (grid.diff(dim=1) > 0).all()
    assert (loaded.vit.pos_embed[:, 0] == 7).all()


@pytest.mark.parametrize(
    "size", [(32, 32), (32, 64), (112, 448)], ids=["square", "wide", "as-many-as-a-square-of-timm"]
)
def test_a_start_on_its_own_grid_stays_bit_by_bit(tmp_path, size):
    source = start_file(tmp_path / "w.safetensors", size)
    assert states_equal(source.vit.state_dict(), make(tmp_path / "w.safetensors", size=size).vit.state_dict())


@pytest.mark.parametrize("now", [(32, 32), (64, 64), (48, 80)], ids=["same", "finer", "wide"])
@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224", "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224", "eva02_tiny_patch14_224"],
)
def test_a_square_start_is_resampled_as_timm_does_it(tmp_path, name, now):
    start_file(tmp_path / "noted.safetensors", (32, 32), name=name)
    torch.save(load_file(tmp_path / "noted.safetensors"), tmp_path / "plain.pth")
    noted, plain = (make(tmp_path / file, size=now, name=name) for file in ("noted.safetensors", "plain.pth"))
    assert states_equal(noted.vit.state_dict(), plain.vit.state_dict())


def test_the_grid_of_a_start_is_told_apart_from_its_size_in_pixels(tmp_path):
    source = start_file(tmp_path / "w.safetensors", (32, 64))
    loaded = make(tmp_path / "w.safetensors", size=(64, 128), patch_size=16)
    assert source.grid_hw == loaded.grid_hw == (4, 8)
    assert torch.equal(source.vit.pos_embed, loaded.vit.pos_embed)


@pytest.mark.parametrize("noted", [None, "32x8", "wide", "0x0"], ids=["no-notes", "too-small", "a-word", "zero"])
def test_a_grid_that_nobody_knows_is_refused_where_it_has_to_be_resampled(tmp_path, noted):
    file = tmp_path / "w.safetensors"
    source = start_file(file, (32, 64), noted=False)
    if noted is not None:
        save_file(source.vit.state_dict(), file, metadata=with_notes({"input_size": noted}))
    with pytest.raises(
        CheckpointError, match=r"w\.safetensors has position embeddings of 32 patches .* to 8x8: set data"
    ):
        make(file, size=(64, 64))
    assert torch.equal(make(file, size=(32, 64)).vit.pos_embed, source.vit.pos_embed)


def test_missing_names_are_told(tmp_path):
    state = make().vit.state_dict()
    del state["blocks.1.attn.qkv.weight"], state["norm.bias"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"lacks 2 of \d+ tensors, the first is 'blocks.1.attn.qkv.weight'"):
        make(tmp_path / "w.pth")


def test_wrong_shapes_are_told(tmp_path):
    torch.save(make(mlp_ratio=2).vit.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"mlp.fc1.weight has shape \(96, 48\), the model wants \(192, 48\)"):
        make(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch16_dinov3"], ids=["vit", "dinov3"])
@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"conv1.weight": torch.zeros(3)}, id="another-network"),
        pytest.param({"pos_embed": torch.zeros(3)}, id="misshapen-position"),
        pytest.param({"patch_embed.proj.weight": torch.zeros(3)}, id="misshapen-patch"),
    ],
)
def test_a_checkpoint_of_something_else_is_one_clear_error(tmp_path, name, state):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        make(tmp_path / "w.pth", name=name)


def test_another_width_is_one_clear_error(tmp_path):
    torch.save(make(embed_dim=64).vit.state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="the model wants"):
        make(tmp_path / "w.pth")


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["torch", "plain"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, how):
    file, trace = tmp_path / "w.pth", tmp_path / "ran"
    if how == "torch":
        torch.save({"model": make().vit.state_dict(), "args": Bomb(trace)}, file)
    else:
        file.write_bytes(pickle.dumps({"args": Bomb(trace)}, protocol=2))
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_state_dict(file)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("w.pth", b""), ("w.pth", b"not weights"), ("w.safetensors", b""), ("w.safetensors", b"\xff" * 64)],
    ids=["empty-pth", "text-pth", "empty-safetensors", "broken-safetensors"],
)
def test_broken_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"w\..* cannot be read as weights"):
        read_state_dict(tmp_path / name)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files_are_refused_or_read_but_never_a_traceback(tmp_path):
    buffer = io.BytesIO()
    torch.save({"model": {"a": torch.zeros(3)}}, buffer, _use_new_zipfile_serialization=False)
    whole, chance, file, refused = buffer.getvalue(), random.Random(0), tmp_path / "w.pth", 0
    for _ in range(100):
        damaged = bytearray(whole[: chance.randrange(1, len(whole))])
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            read_state_dict(file)
        except CheckpointError:
            refused += 1
    assert refused > 90


@pytest.mark.parametrize("content", [torch.zeros(3), [torch.zeros(3)], {}], ids=["tensor", "list", "empty"])
def test_files_without_names_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="expected a mapping of names to tensors"):
        read_state_dict(tmp_path / "w.pth")


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights file .*gone\.pth: give a \.pth or \.safetensors file"):
        make(tmp_path / "gone.pth")


def test_check_fit_accepts_more_than_it_needs():
    module = torch.nn.Linear(2, 3)
    check_fit({**module.state_dict(), "more": torch.zeros(1)}, module, "file")


def test_options_beside_the_weights_do_not_hinder(tmp_path):
    source = make()
    torch.save({"model": source.vit.state_dict(), "args": argparse.Namespace(lr=5e-4, opt="adamw")}, tmp_path / "w.pth")
    assert states_equal(source.vit.state_dict(), make(tmp_path / "w.pth").vit.state_dict())


@pytest.mark.parametrize(
    "extra",
    ["blocks.2.norm1.weight", "blocks.0.ls1.gamma", "blocks.0.attn.q_norm.weight", "patch_embed.backbone.conv.weight"],
    ids=["deeper", "layer-scale", "query-norm", "hybrid"],
)
def test_a_part_that_the_backbone_has_no_place_for_is_told(tmp_path, extra):
    torch.save({**make().vit.state_dict(), extra: torch.zeros(48)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=rf"has 1 tensors that this backbone has no place for.*'{extra}'"):
        make(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "extra", ["head_dist.weight", "fc_norm.weight", "decoder_embed.weight", "pre_logits.fc.weight"]
)
def test_heads_and_decoders_are_left_out(tmp_path, extra):
    source = make()
    torch.save({**source.vit.state_dict(), extra: torch.zeros(48)}, tmp_path / "w.pth")
    assert states_equal(source.vit.state_dict(), make(tmp_path / "w.pth").vit.state_dict())


FAMILIES = {
    "deit-distilled": ("deit_tiny_distilled_patch16_224", {}),
    "deit3": ("deit3_small_patch16_224", {}),
    "dinov2-registers": ("vit_small_patch14_reg4_dinov2", {}),
    "beit": ("beit_base_patch16_224", {"use_rel_pos_bias": True}),
    "relative-positions": ("vit_relpos_small_patch16_224", {"class_token": True}),
}


@pytest.mark.parametrize(("name", "more"), FAMILIES.values(), ids=FAMILIES.keys())
def test_files_of_timm_models_with_their_heads_load_at_another_grid(tmp_path, name, more):
    patch = 14 if "patch14" in name else 16
    shape = {"embed_dim": 48, "depth": 2, "num_heads": 2, **more}
    whole = timm.create_model(name, num_classes=10, img_size=4 * patch, **shape)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in whole.state_dict().items()}}, tmp_path / "w.pth"
    )
    config = BackboneConfig(name=name, weights=str(tmp_path / "w.pth"), overrides=shape)
    loaded = build_backbone(config, DataConfig(input_size=(3 * patch, 6 * patch)))
    assert loaded.grid_hw == (3, 6)
    assert torch.equal(loaded.vit.blocks[1].mlp.fc2.weight, whole.blocks[1].mlp.fc2.weight)
    assert torch.isfinite(loaded(torch.randn(1, 3, 3 * patch, 6 * patch)).attention).all()


def test_layer_scale_of_deit3_has_its_old_name_in_the_released_file(tmp_path):
    shape = {"embed_dim": 48, "depth": 2, "num_heads": 2}
    source = timm.create_model("deit3_small_patch16_224", num_classes=0, img_size=32, **shape)
    for block in source.blocks:
        torch.nn.init.uniform_(block.ls1.gamma)
    renamed = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", name): value for name, value in source.state_dict().items()}
    assert "blocks.0.gamma_1" in renamed
    torch.save({"model": renamed}, tmp_path / "w.pth")
    config = BackboneConfig(name="deit3_small_patch16_224", weights=str(tmp_path / "w.pth"), overrides=shape)
    assert states_equal(source.state_dict(), build_backbone(config, DataConfig(input_size=(32, 32))).vit.state_dict())


def hub_file(monkeypatch, tmp_path, state):
    """Let timm find a file where it would ask the hub for ``vit_tiny_patch16_224``."""
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "model.safetensors")
    create = timm.create_model
    overlay = {"file": str(tmp_path / "model.safetensors")}
    monkeypatch.setattr("timm.create_model", lambda *a, **k: create(*a, pretrained_cfg_overlay=overlay, **k))


def test_hub_weights_are_resampled_to_the_grid_and_lose_their_head(tmp_path, monkeypatch):
    whole = timm.create_model("vit_tiny_patch16_224", num_classes=1000, img_size=224)
    whole.pos_embed.data[:, 1:] = torch.arange(14.0)[None, :, None].expand(14, 14, 192).reshape(1, 196, 192)
    hub_file(monkeypatch, tmp_path, whole.state_dict())
    loaded = build_backbone(
        BackboneConfig(name="vit_tiny_patch16_224", weights="hub"), DataConfig(input_size=(64, 112))
    )
    assert loaded.grid_hw == (4, 7)
    grid = loaded.vit.pos_embed.data[0, 1:].reshape(4, 7, 192)
    assert (grid[0, :, 0].diff() > 1.5).all()
    assert torch.equal(loaded.vit.blocks[11].attn.qkv.weight, whole.blocks[11].attn.qkv.weight)


def test_hub_weights_of_another_shape_are_told(tmp_path, monkeypatch):
    whole = timm.create_model("vit_tiny_patch16_224", num_classes=1000, img_size=224, mlp_ratio=2)
    hub_file(monkeypatch, tmp_path, whole.state_dict())
    with pytest.raises(ConfigError, match=r"do not fit .*blocks\.0\.mlp\.fc1\.weight.*\[384, 192\].*\[768, 192\]"):
        build_backbone(BackboneConfig(name="vit_tiny_patch16_224", weights="hub"), DataConfig(input_size=(64, 112)))
