"""TriLite: pooling and losses against loops, and that the backbone stays as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cdtr.config import Config, load_config
from cdtr.errors import ConfigError
from cdtr.model.methods import build_method, with_switches
from cdtr.model.tri_head import TriHead, absence_loss
from cdtr.training.optimiser import build_optimiser
from oracles import model_oracles as oracle
from oracles import transformer_oracles as slow

TRILITE = {"method": "trilite"}
FROZEN = {"name": "vit_small_patch14_dinov2", "frozen": True}


def build(tiny_config: Config, size: int = 28, classes: int = 3, **trilite):
    """A frozen tiny DINOv2."""
    overrides = {"embed_dim": 48, "depth": 2, "num_heads": 2, "patch_size": 14}
    config = tiny_config.updated(
        data={"input_size": (size, size), "resize": (size, size)},
        backbone={**FROZEN, "weights": "x.pth", "overrides": overrides},
        trilite={"dropout_map": 0.0, "dropout_class": 0.0, **trilite},
        **TRILITE,
    )
    torch.manual_seed(1)
    return build_method(config, classes, load_weights=False), config


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 3, 28, 28)


def test_shares_sum_to_one_and_pooling_is_that_of_the_loops():
    head, patches = TriHead(6, 4, 0.0), torch.randn(2, 6, 3, 5)
    with torch.no_grad():
        head.conv.weight.mul_(5)
    found = head.train()(patches)
    torch.testing.assert_close(found.shares.sum(dim=1), torch.ones(2, 3, 5))
    normed = oracle.batch_norm(oracle.conv(patches, head.conv.weight), head.norm.weight, head.norm.bias, head.norm.eps)
    shares = torch.exp(normed) / torch.exp(normed).sum(dim=1, keepdim=True)
    torch.testing.assert_close(found.shares, shares, rtol=1e-4, atol=1e-5)
    for image in range(2):
        for channel, scores in ((0, found.foreground), (1, found.background)):
            mean = slow.tri_pool(shares[image, channel], patches[image])
            expected = head.classifier.weight @ mean + head.classifier.bias
            torch.testing.assert_close(scores[image], expected, rtol=1e-4, atol=1e-5)
    by_patch = head.class_maps(patches)
    torch.testing.assert_close(by_patch[1, :, 2, 3], head.classifier(patches[1, :, 2, 3]))


def test_the_terms_are_those_of_the_loops(tiny_config, batch, images):
    method, _ = build(tiny_config, alpha=7.0)
    output = method(images)
    terms = {name: term.detach() for name, term in method.losses(output, batch).items()}
    aux = output.aux
    assert list(terms) == ["cls", "foreground", "background"]
    assert float(terms["cls"]) == pytest.approx(oracle.cross_entropy(output.logits, batch.labels), rel=1e-4)
    fore = oracle.cross_entropy(aux["foreground_logits"], batch.labels)
    assert float(terms["foreground"]) == pytest.approx(fore, rel=1e-4)
    back = 7 * slow.adversarial(aux["background_logits"], batch.labels)
    assert float(terms["background"]) == pytest.approx(back, rel=1e-4)
    torch.testing.assert_close(method.weigh(terms)[0], sum(terms.values()))


def test_a_background_that_is_sure_of_the_class_has_a_finite_loss():
    scores = torch.tensor([[90.0, 0.0], [0.0, 90.0]], requires_grad=True)
    losses = absence_loss(scores, torch.tensor([0, 0]))
    assert losses.tolist() == pytest.approx([16.118, 0.0], abs=1e-3)
    losses.sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_the_backbone_does_not_learn_and_the_ambiguous_channel_does(tiny_config, batch, images):
    method, config = build(tiny_config)
    before = {name: value.clone() for name, value in method.backbone.state_dict().items()}
    method.train()
    optimiser = build_optimiser(method, config)
    learned = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert not learned & {id(p) for p in method.backbone.parameters()}
    method.weigh(method.losses(method(images), batch))[0].backward()
    assert all(p.grad is None for p in method.backbone.parameters())
    assert method.tri_head.conv.weight.grad[2].any(), "no loss names this channel"
    optimiser.step()
    assert all(torch.equal(value, before[name]) for name, value in method.backbone.state_dict().items())
    running = [name for name, _ in method.named_buffers() if "running" in name]
    assert running == ["tri_head.norm.running_mean", "tri_head.norm.running_var"]


def test_the_classifier_has_a_rate_of_its_own(tiny_config):
    method, config = build(tiny_config, classifier_lr=10.0)
    groups = build_optimiser(method, config).param_groups
    fast = {id(p) for group in groups if group["lr_factor"] == 10 for p in group["params"]}
    assert fast == {id(p) for p in method.classifier.parameters()}
    assert {group["lr_factor"] for group in groups} == {1.0, 10.0}


@pytest.mark.parametrize(("classes", "trained"), [(200, 164_374), (1000, 780_374)])
def test_trained_parameters(deit_small, classes, trained):
    from cdtr.model.methods import trilite

    config = with_switches(Config().updated(backbone={"frozen": True}, **TRILITE))
    backbone = [p.requires_grad_(False) for p in deit_small.parameters()]  # of DINOv2-S's width
    try:
        method = trilite.build(config, classes, deit_small, None)
        assert sum(p.numel() for p in method.parameters() if p.requires_grad) == trained
    finally:
        for parameter in backbone:
            parameter.requires_grad_(True)


@torch.no_grad()
def test_a_head_of_small_images_serves_large_ones(tiny_config):
    small, _ = build(tiny_config)
    large, _ = build(tiny_config, size=56)
    heads = {name: value for name, value in small.state_dict().items() if not name.startswith("backbone.")}
    assert large.load_state_dict(heads, strict=False).unexpected_keys == []
    assert large.eval()(torch.randn(1, 3, 56, 56)).maps.shape == (1, 3, 4, 4)
    assert small.eval()(torch.randn(1, 3, 28, 28)).maps.shape == (1, 3, 2, 2)


@torch.no_grad()
def test_tokens_before_the_last_norm(tiny_config, images):
    normed, _ = build(tiny_config)
    prenorm, _ = build(tiny_config, tokens="prenorm")
    seen = []
    for method in (normed.eval(), prenorm.eval()):
        method.tri_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        method(images)
    after, before = seen
    expected = prenorm.backbone.vit.norm(before.flatten(2).transpose(1, 2)).transpose(1, 2).reshape_as(after)
    torch.testing.assert_close(after, expected)
    assert not torch.allclose(after, before)


def test_images_without_an_object_teach_the_class_token_alone(tiny_config, batch, images):
    method, _ = build(tiny_config)
    has_object = torch.tensor([True, True, False] * 2)
    output = method(images)
    terms = {name: t.detach() for name, t in method.losses(output, replace(batch, has_object=has_object)).items()}
    kept = has_object.nonzero().flatten()
    fore = oracle.cross_entropy(output.aux["foreground_logits"][kept], batch.labels[kept])
    assert float(terms["foreground"]) == pytest.approx(fore, rel=1e-4)
    nothing = method.losses(output, replace(batch, has_object=torch.zeros(6, dtype=torch.bool)))
    assert float(nothing["foreground"]) == float(nothing["background"]) == 0
    assert torch.equal(nothing["cls"], terms["cls"])


def test_the_patches_of_a_cnn_are_its_features(batch):
    settings = [
        "backbone.cnn={name: test_efficientnet, weights: none, reductions: [8, 16]}",
        "data.input_size=[32, 32]",
    ]
    method = build_method(load_config("trilite-small", settings), 3)
    assert [name for name, _ in method.named_children() if name != "dropout"] == ["backbone", "tri_head", "probe"]
    output = method(batch.images)
    assert output.maps.shape == (6, 3, 4, 4)
    assert list(method.losses(output, batch)) == ["foreground", "background"]
    levels = method.cnn.levels(batch.images)
    torch.testing.assert_close(
        method(batch.images, levels=levels).maps, method(batch.images).maps, rtol=1e-3, atol=1e-3
    )
    learned = {name.split(".")[0] for name, p in method.named_parameters() if p.requires_grad}
    assert learned == {"tri_head"}


@pytest.mark.parametrize(
    ("preset", "message"),
    [("small", r"method trilite has no Guide: set guide\.enabled=false"), ("cub", None)],
)
def test_what_trilite_does_not_have_is_refused(preset, message):
    config = load_config(preset, ["method=trilite", "backbone.weights=none"])
    if message is None:
        assert with_switches(config).sba.enabled is False
        return
    with pytest.raises(ConfigError, match=message):
        build_method(config, 3)


def test_the_released_recipe_is_its_own():
    config = load_config("trilite-ilsvrc")
    assert config.backbone.frozen
    assert config.trilite.tokens == "prenorm"
    assert config.trilite.alpha == 500
    assert config.data.augment == "crop_flip"
    assert load_config("trilite-cub").trilite.alpha == 100
