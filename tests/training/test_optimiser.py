"""The learning rate at points that can be worked out by hand, and what takes weight decay."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from training_helpers import tiny_config

from cdtr.config import Config, TrainConfig, load_config
from cdtr.errors import ConfigError
from cdtr.model.methods import build_method
from cdtr.training.optimiser import build_optimiser, learning_rate

PAPER = {"epochs": 10, "warmup_epochs": 2.0, "lr": 1e-3, "warmup_lr": 1e-4, "min_lr": 1e-5}


@pytest.mark.parametrize(
    ("changes", "step", "expected"),
    [
        ({}, 0, 1e-4),
        ({}, 10, 5.5e-4),
        ({}, 20, 1e-3),
        ({}, 60, (1e-3 + 1e-5) / 2),
        ({}, 40, 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + math.sqrt(0.5))),
        ({}, 100, 1e-5),
        ({"warmup_epochs": 0}, 0, 1e-3),
        ({"warmup_epochs": 0.5}, 4, 1e-4 + 0.8 * 9e-4),
        ({"warmup_epochs": 0.5}, 5, 1e-3),
        ({"warmup_epochs": 50}, 50, 1e-3),
        ({"warmup_epochs": 50}, 25, 5.5e-4),
        ({"schedule": "constant"}, 10, 5.5e-4),
        ({"schedule": "constant"}, 20, 1e-3),
        ({"schedule": "constant"}, 99, 1e-3),
        ({"schedule": "step", "decay_at": (0.3, 0.6)}, 29, 1e-3),
        ({"schedule": "step", "decay_at": (0.3, 0.6)}, 30, 1e-4),
        ({"schedule": "step", "decay_at": (0.3, 0.6), "decay": 0.5}, 60, 2.5e-4),
        ({"lr_rule": "per_512", "batch_size": 256}, 20, 5e-4),
        ({"lr_rule": "per_512", "batch_size": 1024}, 20, 2e-3),
        ({"lr_rule": "per_512", "batch_size": 256}, 100, 1e-5),
        ({"lr_rule": "per_512", "batch_size": 256}, 0, 1e-4),
    ],
    ids=[
        "warm-up starts",
        "warm-up is half done",
        "warm-up ends at the peak",
        "cosine is half done",
        "cosine is a quarter done",
        "cosine ends at the floor",
        "no warm-up",
        "fraction of an epoch",
        "fraction of an epoch ends",
        "warm-up takes half of the run at most",
        "long warm-up is half done",
        "constant warms up too",
        "constant at the peak",
        "constant to the end",
        "step before its first decay",
        "step at its first decay",
        "step after both",
        "per 512 halves",
        "per 512 doubles",
        "per 512 leaves the floor",
        "per 512 leaves the start",
    ],
)
def test_learning_rate(changes: dict[str, object], step: int, expected: float) -> None:
    """Ten steps an epoch."""
    assert learning_rate(step, 10, TrainConfig(**{**PAPER, **changes})) == pytest.approx(expected, rel=1e-9)


@given(
    epochs=st.integers(1, 40),
    steps=st.integers(1, 30),
    warmup=st.floats(0, 60),
    schedule=st.sampled_from(["cosine", "constant"]),
    lowest=st.sampled_from([1e-5, 2e-3]),
)
def test_rate_rises_to_the_peak_and_then_only_falls(
    epochs: int, steps: int, warmup: float, schedule: str, lowest: float
) -> None:
    changes = {"epochs": epochs, "warmup_epochs": warmup, "schedule": schedule, "min_lr": lowest}
    settings = TrainConfig(**{**PAPER, **changes})
    rates = [learning_rate(step, steps, settings) for step in range(epochs * steps)]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert all(1e-5 <= rate <= 1e-3 + 1e-15 for rate in rates)


def released_rates(config: TrainConfig) -> list[float]:
    """timm's own scheduler over the epochs, stepped as DeiT's training steps it."""
    peak = config.lr * config.batch_size / 512
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = CosineLRScheduler(
        optimiser,
        t_initial=config.epochs,
        lr_min=config.min_lr,
        warmup_t=int(config.warmup_epochs),
        warmup_lr_init=config.warmup_lr,
        warmup_prefix=False,
        t_in_epochs=True,
    )
    rates = []
    for epoch in range(config.epochs):
        rates.append(optimiser.param_groups[0]["lr"])
        scheduler.step(epoch)
    return rates


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"epochs": 110, "batch_size": 512, "lr": 5e-5}, id="cub"),
        pytest.param({"epochs": 14, "batch_size": 256, "lr": 5e-4}, id="ilsvrc"),
        pytest.param({"epochs": 3}, id="only-warm-up"),
        pytest.param({"epochs": 1}, id="one-epoch"),
        pytest.param({"warmup_epochs": 0}, id="no-warm-up"),
        pytest.param({"min_lr": 1.0}, id="floor-above-the-peak"),
    ],
)
def test_cosine_by_epoch_is_timms_as_released(changes: dict[str, object]) -> None:
    released = {"schedule": "cosine_by_epoch", "lr_rule": "per_512", "warmup_lr": 1e-6, "min_lr": 1e-5}
    config = TrainConfig(**{"epochs": 10, **released, **changes})
    expected = released_rates(config)
    found = [[learning_rate(epoch * 4 + step, 4, config) for step in range(4)] for epoch in range(config.epochs)]
    assert all(len(set(rates)) == 1 for rates in found), "one rate an epoch"
    assert [rates[0] for rates in found] == pytest.approx(expected, rel=1e-12)


def test_schedule_of_ilsvrc_as_released() -> None:
    """By hand: the peak of 2.5e-4 is not reached, two epochs have the warm-up's rate, the last one 2.2e-5."""
    train = load_config("ilsvrc-official").train
    rates = [learning_rate(epoch * 5004, 5004, train) for epoch in range(train.epochs)]
    assert rates[:2] == [1e-6, 1e-6]
    assert max(rates) == rates[5] == pytest.approx(2.00e-4, abs=5e-7)
    assert rates[-1] == pytest.approx(2.2e-5, abs=5e-7)


def test_cosine_by_epoch_wants_whole_epochs_of_warm_up() -> None:
    with pytest.raises(ConfigError, match=r"train\.warmup_epochs = 2\.5: .*cosine_by_epoch.* expected a whole number"):
        Config().updated(train={"schedule": "cosine_by_epoch", "warmup_epochs": 2.5})
    assert Config().updated(train={"warmup_epochs": 2.5}).train.warmup_epochs == 2.5


def decay_of(config: Config) -> dict[str, float]:
    """Weight decay by parameter name."""
    method = build_method(config, 3)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    groups = build_optimiser(method, config).param_groups
    return {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}


EXEMPT = {
    "class token": "backbone.vit.cls_token",
    "register tokens": "backbone.vit.reg_token",
    "position embedding": "backbone.vit.pos_embed",
    "layer norm": "backbone.vit.blocks.0.norm1.weight",
    "bias": "backbone.vit.blocks.1.attn.qkv.bias",
    "batch norm": "csm.encoder.0.1.weight",
    "head's bias": "head.bias",
}
DECAYED = {
    "attention": "backbone.vit.blocks.0.attn.qkv.weight",
    "patch embedding": "backbone.vit.patch_embed.proj.weight",
    "class head": "head.weight",
    "csm": "csm.encoder.0.0.weight",
    "ocm": "ocm.join.0.weight",
    "ski": "ski.kernel.weight",
}


@pytest.fixture(scope="module")
def decays() -> dict[str, float]:
    return decay_of(tiny_config(backbone={"overrides": {"reg_tokens": 2}}))


@pytest.mark.parametrize("name", EXEMPT.values(), ids=EXEMPT.keys())
def test_no_decay(decays: dict[str, float], name: str) -> None:
    assert decays[name] == 0


@pytest.mark.parametrize("name", DECAYED.values(), ids=DECAYED.keys())
def test_decay(decays: dict[str, float], name: str) -> None:
    assert decays[name] == 5e-4


@pytest.mark.parametrize(("decay", "expected"), [(False, 0.0), (True, 5e-4)], ids=["off", "on"])
def test_lambdas(decay: bool, expected: float) -> None:
    assert decay_of(tiny_config(weighting={"decay": decay}))["weighting.params"] == expected


def test_official_decays_what_timm_decays() -> None:
    """timm's rule: no weight decay on vectors, biases and what a vision transformer names, so none on the lambdas."""
    config = tiny_config(fidelity="official", weighting={"decay": load_config("cub-official").weighting.decay})
    method = build_method(config, 3)
    named = [name for name, _ in method.named_parameters() if name.endswith(("pos_embed", "cls_token"))]
    plain, _ = param_groups_weight_decay(method, weight_decay=0.05, no_weight_decay_list=named)
    exempt = {id(parameter) for parameter in plain["params"]}
    expected = {name for name, parameter in method.named_parameters() if id(parameter) in exempt}
    assert {name for name, decay in decay_of(config).items() if decay == 0} == expected
    assert "weighting.params" in expected


def test_every_trained_parameter_is_in_one_group_once() -> None:
    config = tiny_config(weighting={"mode": "fixed"})
    method = build_method(config, 3)
    found = [id(p) for group in build_optimiser(method, config).param_groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in method.parameters() if p.requires_grad)
    assert id(method.weighting.params) not in found


def test_settings_of_adamw() -> None:
    config = tiny_config(train={"betas": (0.8, 0.95), "eps": 1e-6, "lr": 0.25})
    optimiser = build_optimiser(torch.nn.Linear(2, 2), config)
    for group in optimiser.param_groups:
        assert group["betas"] == (0.8, 0.95)
        assert group["eps"] == 1e-6
        assert group["lr"] == 0.25


@pytest.mark.parametrize("betas", [(0.9, 1.0), (1.5, 0.99), (-0.1, 0.99)], ids=["one", "above", "below"])
def test_betas_that_adamw_refuses_are_refused_by_the_configuration(betas: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"train\.betas"):
        Config().updated(train={"betas": betas})
