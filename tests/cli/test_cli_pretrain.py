"""`cdtr pretrain`, and `cdtr train` from what it writes, through the real command line."""

import importlib.util
import os

import pytest
from cli_helpers import run_cdtr, tiny_settings

from cdtr.model.packaged import PACKAGES

PACKAGE = PACKAGES["tf_efficientnet_lite0"]

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"the package {PACKAGE} is not installed"
)
SMALLER = ("--set", "backbone.overrides={embed_dim: 24, depth: 2, num_heads: 2}")


@needs_package
def test_pretrain_then_train_from_it(neu, tmp_path):
    start, run = tmp_path / "start", tmp_path / "run"
    taught = run_cdtr("pretrain", neu, "--out", start, *tiny_settings(), "--set", "train.precision=no")
    assert taught.returncode == 0, taught.stderr
    assert f"wrote {start}: backbone.safetensors, model.safetensors" in taught.stdout
    assert "token" in taught.stderr
    assert "patches" in taught.stderr
    again = run_cdtr("pretrain", neu, "--out", start, "--resume")
    assert again.returncode == 0, again.stderr
    assert "is trained already" in again.stderr

    weights = ("--set", f"backbone.weights={start / 'backbone.safetensors'}")
    trained = run_cdtr("train", neu, "--out", run, "--config", "small", *tiny_settings(), *weights)
    assert trained.returncode == 0, trained.stderr
    assert "backbone.safetensors, pretrained on neu_det (" in trained.stderr
    assert "teacher tf_efficientnet_lite0" in trained.stderr

    refused = run_cdtr(
        "train", neu, "--out", tmp_path / "other", "--config", "small", *tiny_settings(), *weights, *SMALLER
    )
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: ")
    assert "shape" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "other").exists()


def test_a_missing_package_is_one_line(neu, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        f"import importlib.util as u\nfind = u.find_spec\n"
        f"u.find_spec = lambda name, *rest: None if name == {PACKAGE!r} else find(name, *rest)\n"
    )
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    done = run_cdtr("pretrain", neu, "--out", tmp_path / "start", *tiny_settings(), env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert "pip install '.[pretrain]'" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "start").exists()
