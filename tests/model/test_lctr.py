"""LCTR: the relational row, the mixed kernels and the pooled class scores against loops."""

from __future__ import annotations

import copy

import pytest
import torch

from cdtr.config import BackboneConfig, DataConfig, load_config
from cdtr.config.modules.lctr import LctrConfig
from cdtr.errors import ConfigError
from cdtr.model.attention import Watch
from cdtr.model.backbone import build_backbone
from cdtr.model.cdm import Cdm, near_mean
from cdtr.model.methods import build_method
from oracles import model_oracles as oracle
from oracles import transformer_oracles as slow

LCTR = {"method": "lctr"}


def strong_backbone(name="vit_tiny_patch16_224", patch=8, size=(16, 16)):
    """Two blocks of two heads, on a 2x2 grid, far from uniform attention."""
    overrides = {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": patch}
    backbone = build_backbone(
        BackboneConfig(name=name, weights="none", overrides=overrides), DataConfig(input_size=size)
    ).eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return backbone


@pytest.mark.parametrize("class_row", [True, False])
@pytest.mark.parametrize(
    ("name", "patch", "size", "prefix"),
    [("vit_tiny_patch16_224", 8, (16, 16), 1), ("beit_base_patch16_224", 16, (48, 32), 1)],
    ids=["vit", "relative positions"],
)
@torch.no_grad()
def test_the_relational_rows_are_those_of_the_loops(name, patch, size, prefix, class_row):
    backbone, images = strong_backbone(name, patch, size), torch.randn(2, 3, *size)
    found = backbone(images, watch=Watch(relational="values", class_row=class_row)).relational
    matrices = oracle.class_token_attention(copy.deepcopy(backbone.vit), images)
    for image in range(2):
        for block in range(2):
            expected = slow.relational_row(matrices[image, block], class_row)
            torch.testing.assert_close(found[image, block].flatten(), expected[prefix:], rtol=1e-4, atol=1e-7)
            if class_row:
                assert float(expected.sum()) == pytest.approx(1 / len(expected), rel=1e-4)


@torch.no_grad()
def test_a_matrix_from_the_weights_gives_the_same_row():
    backbone, images = strong_backbone(), torch.randn(1, 3, 16, 16)
    inputs = []
    for block in backbone.vit.blocks:
        block.attn.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    found = backbone(images, watch=Watch(relational="values")).relational
    for block in range(2):
        matrix = oracle.attention_from_qkv(inputs[block], backbone.vit.blocks[block].attn)[0]
        torch.testing.assert_close(found[0, block].flatten(), slow.relational_row(matrix)[1:], rtol=1e-4, atol=1e-7)


def test_the_values_have_no_gradient_and_the_gradient_reaches_all_blocks():
    backbone, images = strong_backbone(), torch.randn(1, 3, 16, 16)
    assert not backbone(images, watch=Watch(relational="values")).relational.requires_grad
    rows = backbone(images, watch=Watch(relational="gradient")).relational
    (rows * torch.randn_like(rows)).sum().backward()
    for block in backbone.vit.blocks:
        query, key, _ = block.attn.qkv.weight.grad.chunk(3)
        assert query.any()
        assert key.any()


@pytest.mark.parametrize("reverse", ["literal", "scaled"])
@torch.no_grad()
def test_class_maps_have_a_kernel_for_each_image(reverse):
    cdm = Cdm(6, 3, LctrConfig(reverse=reverse))
    for parameter in cdm.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    patches, attention = torch.randn(2, 6, 3, 4), torch.rand(2, 3, 4)
    covered = attention if reverse == "literal" else torch.stack([oracle.minmax(grid) for grid in attention])
    seen = oracle.conv(patches * (1 - covered)[:, None], cdm.uncovered.weight, cdm.uncovered.bias)
    expected = slow.mixed_convolution(patches, seen, cdm.experts, cdm.bias, cdm.router)
    torch.testing.assert_close(cdm(patches, attention), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_a_router_it_is_one_convolution_with_half_the_sum():
    cdm = Cdm(6, 3, LctrConfig())
    for parameter in cdm.router.parameters():
        parameter.zero_()
    patches = torch.randn(2, 6, 3, 4)
    expected = oracle.conv(patches, cdm.experts.sum(dim=0) / 2, cdm.bias)
    torch.testing.assert_close(cdm(patches, torch.rand(2, 3, 4)), expected, rtol=1e-4, atol=1e-6)


def test_the_padding_is_that_of_the_maps():
    cdm = Cdm(4, 2, LctrConfig(), "replicate")
    maps = cdm(torch.ones(1, 4, 3, 3), torch.zeros(1, 3, 3))
    torch.testing.assert_close(maps, maps[:, :, 1:2, 1:2].expand_as(maps))


def test_experts_start_as_narrow_as_the_released_ones():
    cdm = Cdm(384, 200, LctrConfig())
    assert float(cdm.experts.detach().abs().max()) == pytest.approx(1 / (200 * 384 * 9) ** 0.5, rel=1e-3)


def test_the_class_scores_are_a_weighted_mean():
    maps = torch.randn(2, 3, 4, 5)
    found = near_mean(maps).mean(dim=(2, 3))
    for image in range(2):
        torch.testing.assert_close(found[image], slow.pooled_by_weights(maps[image]), rtol=1e-4, atol=1e-6)
    assert float(near_mean(torch.ones(1, 1, 14, 14)).mean()) == pytest.approx(0.907, abs=1e-3)


@torch.no_grad()
def test_maps_are_relational_attention_times_positive_evidence(make_method, batch):
    method = make_method(**LCTR).eval()
    output = method(batch.images)
    evidence = output.aux["x_out"].clamp_min(0)
    torch.testing.assert_close(output.maps, output.aux["relational"][:, None] * evidence)
    tokens = method.backbone(batch.images)
    torch.testing.assert_close(output.attention, tokens.attention.flatten(1, 2).mean(dim=1))
    for image in range(6):
        torch.testing.assert_close(output.logits[image], slow.pooled_by_weights(output.aux["x_out"][image]))
    assert torch.equal(method(batch.images, auxiliary=True).maps, output.maps)
    plain = make_method(lctr={"pool_logits": False}, **LCTR).eval()
    plain.load_state_dict(method.state_dict())
    torch.testing.assert_close(plain(batch.images).logits, output.aux["x_out"].mean(dim=(2, 3)))


def test_the_loss_reaches_routers_and_through_the_attention_every_block(make_method, batch):
    method = make_method(**LCTR)
    terms = method.losses(method(batch.images), batch)
    assert list(terms) == ["cls"]
    terms["cls"].backward()
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    attended = method.backbone(batch.images).attention.mean(dim=(1, 2)).detach().requires_grad_()
    method.head(method.backbone(batch.images).patches, attended).square().sum().backward()
    assert attended.grad.any()


@pytest.mark.parametrize("attention", ["class_token", "relational"])
@pytest.mark.parametrize("mask", ["literal", "scaled", "fused"])
def test_sba_teaches_the_attention_and_no_head(make_method, batch, mask, attention):
    method = make_method(with_sba=True, sba={"mask": mask}, lctr={"sba_attention": attention}, **LCTR)
    terms = method.losses(method(batch.images), batch)
    total, _ = method.weigh(terms)
    torch.testing.assert_close(total, terms["cls"] + 2.4 * terms["sba"])
    terms["sba"].backward()
    reached = {name for name, p in method.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert not [name for name in reached if not name.startswith("backbone.")]
    for block in method.backbone.vit.blocks:
        query, key, _ = block.attn.qkv.weight.grad.chunk(3)
        assert query.any()
        assert key.any()


def test_sba_at_alpha_0_changes_nothing(make_method, batch):
    totals = []
    for with_sba in (False, True):
        method = make_method(with_sba=with_sba, sba={"alpha": 0.0}, **LCTR)
        totals.append(method.weigh(method.losses(method(batch.images), batch))[0])
    assert torch.equal(*totals)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["backbone.attention_reduce=sum_heads"], "set backbone.attention_reduce=mean"),
        (["ski.enabled=true", "csm.enabled=true"], "method lctr has no CSM: set csm.enabled=false"),
    ],
)
def test_what_lctr_does_not_have_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_method(load_config("small", ["method=lctr", *changes]), 3)


def test_the_released_recipe_is_its_own():
    config = load_config("lctr-cub")
    assert config.data.repeats == 3
    assert config.evaluation.threshold == 0.09
    assert config.backbone.attention_reduce == "mean"
    ilsvrc = load_config("lctr-ilsvrc")
    assert ilsvrc.train.lr * ilsvrc.train.batch_size / 512 == pytest.approx(1e-3)
    assert ilsvrc.evaluation.threshold == 0.18
