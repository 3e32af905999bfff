"""Released checkpoints against a literal version of the released models with the same weights."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch

from cdtr.errors import CheckpointError
from cdtr.model.methods import build_method
from cdtr.model.official import read_released
from oracles.model_oracles import deformable_conv
from oracles.released_models import random_state, released_forward


def save(path: Path, state, wrapping: str = "model", prefix: str = "", **more: object) -> Path:
    torch.save({wrapping: {f"{prefix}{name}": value for name, value in state.items()}, "epoch": 109, **more}, path)
    return path


def images(size: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(7))


VARIANTS = {
    "cdtr-cub": ("cdtr", {"classes": 200}, 224),
    "cdtr-ilsvrc": ("cdtr", {"classes": 1000, "k": 10, "g": 256}, 224),
    "catr-cub": ("catr", {"classes": 20}, 224),
    "catr-ilsvrc": ("catr", {"classes": 20, "k": 10, "g": 256}, 224),
    "tscam-tiny": ("tscam", {"classes": 200, "width": 192}, 224),
    "tscam-small": ("tscam", {"classes": 1000}, 224),
    "tscam-384": ("tscam", {"classes": 12, "grid": 24}, 384),
}


@pytest.mark.parametrize(("family", "sizes", "pixels"), VARIANTS.values(), ids=VARIANTS.keys())
@torch.no_grad()
def test_outputs_equal_the_released_model(family, sizes, pixels, tmp_path: Path) -> None:
    state = random_state(family=family, **sizes)
    wrapping = {"wrapping": "state_dict", "prefix": "module."} if family == "tscam" else {}
    found = read_released(save(tmp_path / "released.pth", state, **wrapping))
    method = build_method(found.config, found.classes, load_weights=False).eval()
    method.load_state_dict(dict(found.state), strict=True)
    ours, theirs = method(images(pixels)), released_forward(state, images(pixels))
    assert found.config.method == family
    assert found.left_out == ()
    for name, mine in {"logits": ours.logits, "attention": ours.attention, "fused": ours.maps, **ours.aux}.items():
        if name in theirs:
            assert theirs[name].std() > 1e-3
            torch.testing.assert_close(mine, theirs[name], atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert {"x_csm", "m_ocm"} <= set(ours.aux) or family == "tscam"


@torch.no_grad()
def test_ski_equals_the_released_model_too(tmp_path: Path) -> None:
    state = random_state(classes=3, grid=4, depth=12)
    found = read_released(save(tmp_path / "released.pth", state))
    method = build_method(found.config, 3, load_weights=False).eval()
    method.load_state_dict(dict(found.state), strict=True)
    theirs = released_forward(state, images(64, 2))
    ours = method(images(64, 2), auxiliary=True)
    expected = deformable_conv(theirs["x_csm"], theirs["offsets"], state["dnc_att_layer.deform_conv.weight"])
    torch.testing.assert_close(ours.aux["x_ski"], expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(method.weighting.params, state["AutomaticWeightedLoss.params"])
    assert method.weighting.names == ("cls", "csm", "ocm_suppress", "ocm_awaken", "ski")


@pytest.mark.parametrize(
    ("family", "sizes", "protocol", "threshold"),
    [
        ("cdtr", {"classes": 4}, "cdtr", 0.20),
        ("cdtr", {"classes": 4, "k": 10}, "cdtr", 0.19),
        ("tscam", {"classes": 200, "width": 192}, "tscam", 0.10),
        ("tscam", {"classes": 1000, "width": 192}, "tscam", 0.12),
        ("tscam", {"classes": 5, "width": 768}, "tscam", None),
    ],
)
def test_settings_say_protocol_and_threshold_of_the_release(family, sizes, protocol, threshold, tmp_path: Path) -> None:
    config = read_released(save(tmp_path / "r.pth", random_state(family=family, grid=2, **sizes))).config
    assert config.evaluation.protocol == protocol
    assert config.evaluation.threshold == threshold
    assert config.sba.enabled == (family == "cdtr")
    assert config.ski.enabled == (family == "cdtr")


def test_options_beside_the_weights_are_read_over(tmp_path: Path) -> None:
    state = random_state(family="tscam", classes=2, width=192, grid=2)
    options = argparse.Namespace(lr=5e-5, model="deit_small_patch16_224_CDTR_cub", nb_classes=200)
    more = {"args": options, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-5}]}, "best_map": 0.5}
    assert read_released(save(tmp_path / "r.pth", state, **more)).classes == 2


def test_tensors_that_mean_nothing_are_left_out_and_told(tmp_path: Path) -> None:
    state = random_state(family="tscam", classes=2, width=192, grid=2)
    more = {**state, "head_dist.weight": torch.zeros(3), "total_ops": torch.zeros(1)}
    found = read_released(save(tmp_path / "r.pth", more))
    assert found.left_out == ("head_dist.weight", "total_ops")
    assert set(found.state) == set(build_method(found.config, 2, load_weights=False).state_dict())


def changed(name: str, value: torch.Tensor | None, **sizes: object):
    """What makes a checkpoint with one tensor replaced or, for None, left out."""

    def make() -> dict[str, torch.Tensor]:
        state = random_state(**{"classes": 2, "grid": 2, "width": 192, **sizes})
        return {key: found for key, found in {**state, name: value}.items() if found is not None}

    return make


ENCODER = "att_layer.down_1.1.UConv.0.weight"
BROKEN = {
    "another network": (lambda: {"conv1.weight": torch.zeros(3)}, r"no cls_token \(it has names like 'conv1.weight'\)"),
    "plain DeiT": (changed("head.weight", torch.zeros(1000, 192)), r"plain classifier .* `overrides="),
    "Conformer": (lambda: {"trans_cls_head.weight": torch.zeros(2, 3, 3, 3)}, "Conformer"),
    "another width": (changed("cls_token", torch.zeros(1, 1, 100)), "width 100, expected 192, 384 or 768"),
    "no square": (changed("pos_embed", torch.zeros(1, 7, 192)), "pos_embed has 7 tokens"),
    "half a block": (changed("block8.0.weight", torch.zeros(1, 3, 1, 1), k=8), r"lacks 5 .*'block8.1.weight'"),
    "K of 7": (changed("norm.bias", torch.zeros(192), k=7), "K = 7 blocks, expected 9 or 10"),
    "a tensor missing": (changed("blocks.3.norm1.weight", None), r"lacks 1 .*'blocks.3.norm1.weight'"),
    "encoder missing": (changed(ENCODER, None), f"lacks '{ENCODER}'"),
    "a tensor misshapen": (
        changed("att_cls.weight", torch.zeros(2, 3, 1, 1)),
        r"att_cls.weight has shape \(2, 3, 1, 1\)",
    ),
    "13 blocks": (changed("blocks.12.norm1.weight", torch.zeros(192)), "'blocks.12.norm1.weight', which no released"),
}


@pytest.mark.parametrize(("make", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_released_checkpoint_is_one_clear_line(make, message, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as raised:
        read_released(save(tmp_path / "r.pth", make()))
    assert str(tmp_path / "r.pth") in str(raised.value)
    assert "\n" not in str(raised.value)
