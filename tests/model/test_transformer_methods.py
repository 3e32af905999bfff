"""What is asked of every method: one step lowers its loss, all that it trains learns, and its maps are its own."""

from __future__ import annotations

import pytest
import torch

from cdtr.config import load_config
from cdtr.errors import ConfigError
from cdtr.model.methods import build_method
from cdtr.training.features import needs_pixels

METHODS = ("scm", "sat", "lctr", "trilite", "cdtr_sat")
SMOOTH = {"trilite": {"dropout_map": 0.0, "dropout_class": 0.0}}

pytestmark = pytest.mark.parametrize("name", METHODS)


def build(tiny_config, name, classes=3, **changes):
    torch.manual_seed(1)
    own = {name: SMOOTH[name]} if name in SMOOTH else {}
    return build_method(tiny_config.updated(method=name, sba={"enabled": False}, **own, **changes), classes)


def total(method, batch):
    return method.weigh(method.losses(method(batch.images), batch))[0]


def test_one_step_lowers_the_loss(name, tiny_config, batch):
    method = build(tiny_config, name)
    before = total(method, batch)
    before.backward()
    torch.optim.SGD(method.parameters(), lr=1e-3).step()
    assert float(total(method, batch).detach()) < float(before.detach())


def test_every_weight_has_a_finite_gradient(name, tiny_config, batch):
    method = build(tiny_config, name)
    total(method, batch).backward()
    missing = [key for key, weight in method.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert missing == []
    assert all(torch.isfinite(weight.grad).all() for weight in method.parameters())


@torch.no_grad()
def test_maps_need_neither_the_branches_nor_the_other_images(name, tiny_config, batch):
    method = build(tiny_config, name)
    method(batch.images)  # batch norms have seen something
    method.eval()
    together = method(batch.images, auxiliary=True)
    assert together.maps.shape == (6, 3, 4, 4)
    assert together.logits.shape == (6, 3)
    assert together.attention.shape == (6, 4, 4)
    assert together.aux["x_out"].shape == (6, 3, 4, 4)
    assert torch.equal(method(batch.images, auxiliary=False).maps, together.maps)
    alone = method(batch.images[4:5])
    torch.testing.assert_close(alone.maps[0], together.maps[4], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(alone.logits[0], together.logits[4], rtol=1e-3, atol=1e-4)


def test_bf16_keeps_maps_and_losses_in_float32(name, tiny_config, batch):
    method = build(tiny_config, name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = method(batch.images)
        loss = method.weigh(method.losses(output, batch))[0]
    assert output.attention.dtype == loss.dtype == torch.float32
    assert torch.isfinite(loss)
    loss.backward()


def test_a_single_class_is_refused(name, tiny_config):
    with pytest.raises(ConfigError, match=f"method {name} learns from what tells classes apart, .* has 1 class: add"):
        build(tiny_config, name, classes=1)


def test_the_packaged_start_gives_the_classes_and_learns_the_maps(name, batch):
    """Over the preset imagenet, on a tiny CNN: the fitted classifier's scores, and features that are kept."""
    changes = {"method": name, "data.input_size": "[32, 32]", "guide.attention": "shared"}
    if name == "trilite":
        changes |= {"guide.enabled": "false", "guide.attention": "evidence", "maps.fuse": "product"}
    cnn = "backbone.cnn={name: test_efficientnet, weights: none, reductions: [8, 16]}"
    config = load_config("imagenet", [f"{key}={value}" for key, value in changes.items()] + [cnn])
    method = build_method(config, 3)
    torch.nn.init.normal_(method.probe.convs[0].weight)
    if name != "trilite":
        torch.nn.init.normal_(method.guide.direction)
    assert not needs_pixels(config)
    levels = method.cnn.levels(batch.images)
    output = method(batch.images.new_empty(6, 3, 0, 0), levels=levels)
    expected = method.probe(method.cnn, method.cnn(batch.images, levels)).mean(dim=(2, 3))
    torch.testing.assert_close(output.logits, expected, rtol=1e-3, atol=1e-3)
    terms = method.losses(output, batch)
    assert "foreground" in terms if name == "trilite" else "cls" in terms
    method.weigh(terms)[0].backward()
    frozen = [key for key, weight in method.named_parameters() if not weight.requires_grad]
    assert {key.split(".")[0] for key in frozen} == {"backbone", "probe"}
    missing = [key for key, w in method.named_parameters() if w.requires_grad and (w.grad is None or not w.grad.any())]
    # SCM takes the attention alone from the transformer here, so what follows the last attention does not learn.
    assert all(key.startswith(("backbone.vit.blocks.1", "backbone.vit.norm")) for key in missing)
    assert missing == [] or name == "scm"
    evaluated = method.eval()(batch.images, levels=levels)
    assert ("prior" in evaluated.aux) is (name != "trilite"), "maps are made with it in evaluation too"
    assert "x_guide" not in evaluated.aux
    assert output.maps.shape == (6, 3, 4, 4)
