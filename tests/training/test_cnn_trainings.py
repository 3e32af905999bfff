"""Methods on a CNN in the training loop: kept features, what is fitted before the first step, processes, bad data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from training_helpers import (
    assert_same_weights,
    largest_difference,
    lines_of,
    quiet_console,
    run_training,
    text_of,
    tiny_config,
    train_fresh,
    train_group,
    weights_of,
    write_classes,
)

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.errors import ConfigError
from cdtr.model.cnn_backbone import build_cnn_backbone
from cdtr.training import feature_store, loop
from cdtr.training.optimiser import build_optimiser, set_learning_rate


def cnn_config(method: str, **changes: Any) -> Config:
    config = tiny_config(
        method=method,
        data={"input_size": (64, 64), "resize": (64, 64), "augment": "flip"},
        backbone={"name": "test_resnet", "overrides": None, "output_stride": 8},
    )
    return config.updated(**changes)


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a backbone that starts from a file and stays as it is; features are kept in a folder of the test."""
    monkeypatch.setenv(feature_store.FOLDER_VARIABLE, str(tmp_path / "cache"))
    config = cnn_config("cam")
    network = build_cnn_backbone(config.backbone, config.data, "cam").network
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "start.safetensors"
    )
    return {"weights": str(tmp_path / "start.safetensors"), "frozen": True}


@pytest.mark.parametrize("method", ["cam", "mff"])
def test_features_of_a_frozen_cnn_are_kept_and_the_head_learns(
    method: str, frozen: dict[str, Any], class_folder: Path, tmp_path: Path
) -> None:
    config = cnn_config(method, backbone=frozen, mff={"width": 8, "fuse": "sum"})
    run = run_training(config, class_folder, tmp_path / "run")
    assert len([entry for entry in (tmp_path / "cache").rglob("*") if entry.is_file()]) == 30
    start = build_cnn_backbone(config.backbone, config.data, method).state_dict()
    after = weights_of(run.path)
    for name, tensor in start.items():
        if f"backbone.{name}" in after:
            torch.testing.assert_close(after[f"backbone.{name}"], tensor)
    first, last = lines_of(run.path, "epoch")
    assert last["terms"]["total"] < first["terms"]["total"]


def test_ddt_is_fitted_before_the_first_step(frozen: dict[str, Any], class_folder: Path, tmp_path: Path) -> None:
    console = quiet_console()
    config = cnn_config("ddt", backbone=frozen)
    loop.train(config, load_source(class_folder), tmp_path / "run", False, console)
    assert "ddt: 0 of 2 classes have a direction of their own, the others that of all images" in text_of(console)
    found = weights_of(tmp_path / "run")
    torch.testing.assert_close(found["directions"].norm(dim=1), torch.ones(2))
    assert torch.equal(found["directions"][0], found["directions"][1])


@pytest.mark.parametrize("method", ["ddt", "cutmix"])
def test_a_killed_training_goes_on_to_the_same_weights(
    method: str, frozen: dict[str, Any], class_folder: Path, tmp_path: Path
) -> None:
    config = cnn_config(method, **({"backbone": frozen} if method == "ddt" else {}))
    whole = run_training(config, class_folder, tmp_path / "whole")
    assert train_fresh(config, class_folder, tmp_path / "run", die="after a step that no state has") != 0
    run = run_training(config, class_folder, tmp_path / "run", resume=True)
    assert_same_weights(whole.path, run.path)


@pytest.mark.parametrize("method", ["acol", "i2c"])
def test_two_processes_are_one(method: str, class_folder: Path, tmp_path: Path) -> None:
    """ACoL runs a branch in its losses, I2C's centres move by the pairs of all processes."""
    section = {"acol": {"width": 16}} if method == "acol" else {"data": {"pairs": True}, "i2c": {"threshold": 0.01}}
    config = cnn_config(method, train={"epochs": 1, "batch_size": 8}, **section)
    alone = run_training(config, class_folder, tmp_path / "alone")
    ended = train_group(config, class_folder, tmp_path / "both")
    assert [member["error"] for member in ended] == [None, None]
    both = weights_of(tmp_path / "both")
    if method == "acol":
        assert largest_difference(weights_of(alone.path), both) < 5e-3
    else:  # each process draws seeds of its own
        assert both["visits"].sum() > 0


def test_classes_of_one_image_leave_no_run(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "data", images=1)
    with pytest.raises(ConfigError, match="class number 0 has one training image"):
        run_training(cnn_config("i2c", data={"holdout": 0}, train={"batch_size": 2}), root, tmp_path / "run")
    assert not [entry for entry in (tmp_path / "run").glob("*") if not entry.name.endswith(".lock")]


def test_new_layers_learn_faster_and_sgd_has_momentum() -> None:
    from cdtr.model.methods import build_method

    config = cnn_config("cam", train={"optimiser": "sgd", "head_lr": 10, "betas": [0.8, 0.9]})
    method = build_method(config, 2)
    optimiser = build_optimiser(method, config)
    assert isinstance(optimiser, torch.optim.SGD)
    set_learning_rate(optimiser, 0.1)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert {name.partition(".")[0] for name, rate in rates.items() if rate == pytest.approx(1.0)} == {"head"}
    assert {name.partition(".")[0] for name, rate in rates.items() if rate == pytest.approx(0.1)} == {"backbone"}
    assert all(group["momentum"] == 0.8 and group["nesterov"] for group in optimiser.param_groups)
