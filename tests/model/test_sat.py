"""SAT: the spatial token against an explicit transformer whose attention is masked, and its losses against loops."""

from __future__ import annotations

import pytest
import torch

from cdtr.config import BackboneConfig, DataConfig, load_config
from cdtr.config.modules.sat import SatConfig
from cdtr.errors import ConfigError
from cdtr.model import attention
from cdtr.model.backbone import build_backbone
from cdtr.model.methods import build_method
from cdtr.model.spatial import SpatialToken, smoothing_filter
from cdtr.training.optimiser import build_optimiser
from oracles import transformer_oracles as slow

SAT = {"method": "sat"}


def strong_backbone(depth=3, size=(32, 48)):
    """A 4x6 grid whose attention is far from uniform."""
    overrides = {"embed_dim": 48, "depth": depth, "num_heads": 2, "patch_size": 8}
    config = BackboneConfig(name="vit_tiny_patch16_224", weights="none", overrides=overrides)
    backbone = build_backbone(config, DataConfig(input_size=size)).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return backbone


def strong_token(blocks=2):
    token = SpatialToken(48, SatConfig(blocks=blocks))
    torch.nn.init.normal_(token.spatial_token)
    torch.nn.init.normal_(token.spatial_embed)
    return token


@torch.no_grad()
def test_scaled_values_equal_masked_attention():
    backbone, token, images = strong_backbone(), strong_token(), torch.randn(2, 3, 32, 48)
    extra = (token.spatial_token + token.spatial_embed).flatten()
    expected, masks = slow.masked_transformer(backbone.vit, images, extra, 2)
    tokens = backbone(images, watch=token.watch(3))
    assert masks.std() > 0.05
    torch.testing.assert_close(tokens.patches.flatten(2).transpose(1, 2), expected[:, 1:25], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(tokens.class_token, expected[:, 0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(tokens.spatial.flatten(2), masks[:, :, 1:25], rtol=1e-3, atol=1e-4)
    assert tokens.spatial.shape == (2, 2, 4, 6)
    assert tokens.attention.shape == (2, 3, 2, 4, 6)


@torch.no_grad()
def test_a_mask_of_ones_is_the_plain_transformer_with_one_more_token(monkeypatch):
    backbone, token, images = strong_backbone(), strong_token(), torch.randn(2, 3, 32, 48)
    monkeypatch.setattr(attention, "spatial_mask", lambda query, key, scale: torch.ones(len(key), key.shape[2]))
    vit = backbone.vit
    found = vit.norm(vit.blocks(token.append(vit._pos_embed(vit.patch_embed(images)))))
    torch.testing.assert_close(
        backbone(images, watch=token.watch(3)).patches.flatten(2).transpose(1, 2), found[:, 1:25], rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_the_place_of_the_token_does_not_matter():
    """Its masks are the same behind the class token, once that is where they are read."""
    backbone, token, images = strong_backbone(), strong_token(), torch.randn(1, 3, 32, 48)
    last = backbone(images, watch=token.watch(3))
    vit = backbone.vit
    tokens = vit._pos_embed(vit.patch_embed(images))
    extra = (token.spatial_token + token.spatial_embed).expand(1, -1, -1)
    moved = torch.cat([tokens[:, :1], extra, tokens[:, 1:]], dim=1)
    masks = []
    for number, block in enumerate(vit.blocks):
        normed = block.norm1(moved)
        query, key, value = block.attn.qkv(normed).reshape(1, 26, 3, 2, 24).permute(2, 0, 3, 1, 4).unbind(0)
        mask = torch.ones(1, 26)
        if number:
            mask = (query[:, :, 1:2] @ key.transpose(-2, -1) / 24**0.5).squeeze(2).mean(dim=1).sigmoid()
            masks.append(mask[:, 2:])
        weights = (query @ key.transpose(-2, -1) / 24**0.5).softmax(dim=-1) * mask[:, None, None]
        moved = moved + block.attn.proj((weights @ value).transpose(1, 2).reshape(1, 26, 48))
        moved = moved + block.mlp(block.norm2(moved))
    torch.testing.assert_close(last.spatial.flatten(2)[0], torch.cat(masks), rtol=1e-3, atol=1e-4)


def test_no_hook_is_left_behind():
    backbone, token = strong_backbone(), strong_token()
    backbone(torch.randn(1, 3, 32, 48), watch=token.watch(3))
    assert not backbone.vit.blocks[0]._forward_pre_hooks
    plain = backbone(torch.randn(1, 3, 32, 48))
    assert plain.spatial is None
    assert plain.relational is None


def test_the_losses_are_those_of_the_loops():
    maps = torch.rand(2, 3, 5)
    found = SpatialToken(8, SatConfig(area=0.3)).losses(maps)
    area, norm = slow.area_and_norm(maps, 0.3)
    assert float(found["sat_area"]) == pytest.approx(area, rel=1e-4)
    assert float(found["sat_norm"]) == pytest.approx(norm, rel=1e-4)
    heavier = SpatialToken(8, SatConfig(area=0.3, area_weight=2, norm_weight=3)).losses(maps)
    assert float(heavier["sat_area"]) == pytest.approx(2 * area, rel=1e-4)
    assert float(heavier["sat_norm"]) == pytest.approx(3 * norm, rel=1e-4)


def test_images_without_an_object_do_not_count():
    token, maps = SpatialToken(8, SatConfig()), torch.rand(4, 3, 5, requires_grad=True)
    kept = torch.tensor([True, False, True, False])
    found, alone = token.losses(maps, kept), token.losses(maps[kept])
    assert all(torch.equal(found[name], alone[name]) for name in ("sat_area", "sat_norm"))
    nothing = token.losses(maps, torch.zeros(4, dtype=torch.bool))
    sum(nothing.values()).backward()
    assert [float(value.detach()) for value in nothing.values()] == [0, 0]
    assert not maps.grad.any()


def test_the_filter_is_nearly_the_identity():
    found = smoothing_filter()[0, 0]
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    expected = torch.tensor([[0.0026, 0.0460, 0.0026], [0.0460, 0.8054, 0.0460], [0.0026, 0.0460, 0.0026]])
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
    at_the_edge = torch.nn.functional.conv2d(torch.ones(1, 1, 5, 5), smoothing_filter(), padding=1)[0, 0, 0, 2]
    assert float(at_the_edge) == pytest.approx(0.949, abs=1e-3)


@pytest.mark.parametrize(("value", "sign"), [(0.1, -1), (0.25, 0), (0.6, 1)])
def test_the_area_is_pulled_towards_its_target(value, sign):
    maps = torch.full((2, 4, 4), value, requires_grad=True)
    loss = SpatialToken(8, SatConfig(norm_weight=0)).losses(maps)["sat_area"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(abs(value - 0.25), abs=1e-6)
    assert {float(torch.sign(g)) for g in maps.grad.flatten()} == {sign}


def test_one_map_for_every_class_and_its_terms(make_method, batch):
    method = make_method(**SAT)
    output = method(batch.images)
    assert output.maps.shape == (6, 3, 4, 4)
    assert output.maps.stride(1) == 0
    assert torch.equal(output.maps[:, 2], output.attention)
    assert bool(((output.attention > 0) & (output.attention < 1)).all())
    terms = method.losses(output, batch)
    assert list(terms) == ["cls", "sat_area", "sat_norm"]
    total, lambdas = method.weigh(terms)
    torch.testing.assert_close(total, sum(terms.values()))
    assert lambdas == {}
    terms["cls"].backward()
    assert method.spatial.spatial_token.grad.any()


def test_token_and_position_have_no_weight_decay(make_method, tiny_config):
    method = make_method(**SAT)
    decayed, plain = build_optimiser(method, tiny_config).param_groups
    ids = {id(parameter) for parameter in plain["params"]}
    assert {id(method.spatial.spatial_token), id(method.spatial.spatial_embed)} <= ids
    assert decayed["weight_decay"] > plain["weight_decay"] == 0


def test_a_shallow_transformer_is_masked_in_all_blocks(make_method, batch):
    method = make_method(**SAT)  # 2 blocks, and sat.blocks is 3
    tokens = method.backbone(batch.images, watch=method.spatial.watch(2))
    assert tokens.spatial.shape == (6, 2, 4, 4)


@pytest.mark.parametrize(
    "name", ["beit_base_patch16_224", "vit_small_patch16_dinov3", "vit_relpos_base_patch16_cls_224"]
)
def test_relative_and_rotary_positions_are_refused(name):
    settings = ["method=sat", f"backbone.name={name}", "backbone.stem=patch"]
    overrides = "backbone.overrides={patch_size: 16, embed_dim: 48, depth: 2, num_heads: 2}"
    with pytest.raises(ConfigError, match=f"positions of {name} do not allow"):
        build_method(load_config("small", [*settings, overrides]), 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["maps.fuse=softplus"],
            "method sat has no maps.fuse softplus: expected product or attention or pseudo or prior",
        ),
        (["ocm.enabled=true"], "method sat has no OCM: set ocm.enabled=false"),
    ],
)
def test_what_sat_does_not_have_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_method(load_config("small", ["method=sat", *changes]), 3)


def test_the_released_recipe_is_its_own():
    config = load_config("sat-ilsvrc")
    assert config.sat.area == 0.35
    assert config.evaluation.protocol == "sat"
    assert config.evaluation.threshold == 0.30
    assert config.data.augment == "crop_flip"
    assert load_config("sat-cub").evaluation.threshold == 0.40
