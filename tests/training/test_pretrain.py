"""Pretraining: what it writes, going on after a stop, and trainings that start from it."""

import json

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_helpers import (
    assert_same_weights,
    lines_of,
    quiet_console,
    run_training,
    text_of,
    tiny_config,
    weights_of,
)

from cdtr.api import load_model
from cdtr.data.datasets import load_source
from cdtr.errors import CheckpointError, ConfigError
from cdtr.training.loop import Trainer, train
from cdtr.training.pretrain import BACKBONE_FILE, pretrain


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """A small teacher with random weights: fast, and no package is needed."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), path)
    return {"teacher": "test_efficientnet", "teacher_weights": str(path), "teacher_size": (64, 64)}


@pytest.fixture(scope="module")
def pretrained(lesson, class_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrained") / "run"
    pretrain(tiny_config(pretrain=lesson), load_source(class_folder), out, console=quiet_console())
    return out


def test_the_file_holds_the_transformer_alone_and_says_what_it_is_from(pretrained):
    weights = weights_of(pretrained)
    state = load_file(pretrained / BACKBONE_FILE)
    assert state.keys() == {n.removeprefix("backbone.vit.") for n in weights if n.startswith("backbone.vit.")}
    assert all(torch.equal(tensor, weights[f"backbone.vit.{name}"]) for name, tensor in state.items())
    assert not any("teacher" in name or "token_head" in name for name in weights)
    with safe_open(pretrained / BACKBONE_FILE, framework="pt") as file:
        notes = json.loads(file.metadata()["cdtr"])
    assert notes["pretrained_on"] == "folder (24 images, 2 epochs, teacher test_efficientnet)"
    assert notes["input_size"] == "32x32"
    manifest = json.loads((pretrained / "manifest.json").read_text())
    assert notes["images_sha256"] == manifest["splits"]["fit"]["sha256"]


def test_every_term_is_logged_and_the_run_is_one_of_tscam(pretrained):
    (_, last) = lines_of(pretrained, "epoch")
    assert set(last["terms"]) == {"cls", "token", "patches", "total"}
    assert set(last["held_out"]) == {"top1_cls", "top5_cls"}
    assert last["attention"] == {}  # it is not taught, and nobody need be warned of it
    output = load_model(pretrained)(torch.zeros(1, 3, 32, 32))
    assert output.maps.shape == (1, 2, 4, 4)


def test_it_learns_from_teacher_and_labels(lesson, class_folder, tmp_path):
    config = tiny_config(pretrain=lesson, train={"epochs": 8})
    pretrain(config, load_source(class_folder), tmp_path / "run", console=quiet_console())
    first, *_, last = lines_of(tmp_path / "run", "epoch")
    assert all(last["terms"][name] < first["terms"][name] for name in ("cls", "token", "patches"))


def test_a_stopped_pretraining_goes_on_as_if_nothing_had_happened(
    pretrained, lesson, class_folder, tmp_path, monkeypatch
):
    out, config, source = tmp_path / "run", tiny_config(pretrain=lesson), load_source(class_folder)
    whole = Trainer._epoch

    def stop_after_one(self, position, log):
        if position.epoch == 1:
            raise KeyboardInterrupt
        return whole(self, position, log)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_epoch", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            pretrain(config, source, out, console=quiet_console())
    assert not (out / BACKBONE_FILE).exists()
    with pytest.raises(ConfigError, match="`resume=True`"):
        pretrain(config, source, out, console=quiet_console())
    pretrain(config, source, out, resume=True, console=quiet_console())
    assert_same_weights(out, pretrained)
    assert (out / BACKBONE_FILE).read_bytes() == (pretrained / BACKBONE_FILE).read_bytes()


def test_a_file_that_was_not_written_any_more_comes_with_resume(pretrained, lesson, class_folder, tmp_path):
    out, source = tmp_path / "run", load_source(class_folder)
    pretrain(tiny_config(pretrain=lesson), source, out, console=quiet_console())
    (out / BACKBONE_FILE).unlink()
    pretrain(tiny_config(pretrain=lesson), source, out, resume=True, console=quiet_console())
    assert (out / BACKBONE_FILE).read_bytes() == (pretrained / BACKBONE_FILE).read_bytes()


def test_a_training_starts_from_it_on_a_finer_grid_and_says_so(pretrained, class_folder, tmp_path):
    file = pretrained / BACKBONE_FILE
    config = tiny_config(
        backbone={"weights": str(file)},
        data={"input_size": (48, 48), "resize": (48, 48)},
        # So slow that the weights stay what they were.
        train={"epochs": 1, "lr": 1e-12, "warmup_lr": 0, "min_lr": 0},
    )
    console = quiet_console()
    train(config, load_source(class_folder), tmp_path / "run", console=console)
    assert (
        f"transformer starts from {file}, pretrained on folder (24 images, 2 epochs, teacher test_efficientnet), "
        "position embeddings resampled from 32x32 to 48x48 pixels" in text_of(console)
    )
    name = "blocks.1.mlp.fc1.weight"
    assert torch.allclose(weights_of(tmp_path / "run")[f"backbone.vit.{name}"], load_file(file)[name], atol=1e-6)
    started = json.loads((tmp_path / "run" / "manifest.json").read_text())["started_from"]
    assert started["file"] == str(file)
    assert len(started["sha256"]) == 64
    assert started["notes"]["input_size"] == "32x32"


def test_another_width_is_refused(pretrained, class_folder, tmp_path):
    overrides = {"embed_dim": 36, "depth": 2, "num_heads": 2, "patch_size": 8}
    config = tiny_config(backbone={"weights": str(pretrained / BACKBONE_FILE), "overrides": overrides})
    with pytest.raises(CheckpointError, match=r"backbone\.safetensors.*48.*36"):
        run_training(config, class_folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_start_from_another_file_has_no_notes(pretrained, class_folder, tmp_path):
    torch.save(load_file(pretrained / BACKBONE_FILE), tmp_path / "plain.pth")
    config = tiny_config(backbone={"weights": str(tmp_path / "plain.pth")}, train={"epochs": 1})
    run_training(config, class_folder, tmp_path / "run")
    started = json.loads((tmp_path / "run" / "manifest.json").read_text())["started_from"]
    assert started["notes"] == {}


def test_a_teacher_that_cannot_be_had_leaves_no_folder(class_folder, tmp_path):
    config = tiny_config(pretrain={"teacher_weights": str(tmp_path / "gone.pth")})
    with pytest.raises(CheckpointError, match=r"no weights file"):
        pretrain(config, load_source(class_folder), tmp_path / "run", console=quiet_console())
    assert not (tmp_path / "run").exists()
