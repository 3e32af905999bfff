"""A training killed at any point and resumed is the training that was never killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from training_changes import DEATHS
from training_helpers import (
    assert_same_weights,
    kill_when,
    largest_difference,
    lines_of,
    position_of,
    quiet_console,
    run_training,
    text_of,
    tiny_config,
    train_fresh,
    weights_of,
    write_classes,
)

from cdtr.config import Config, recipe_label
from cdtr.data.datasets import load_source
from cdtr.errors import CheckpointError, ConfigError, DataError
from cdtr.model.backbone import build_backbone
from cdtr.model.methods import with_switches
from cdtr.runs import RunFolder, one_at_a_time
from cdtr.training.loop import train
from cdtr.training.state import Position, save_state, saved_state


def eventful_config() -> Config:
    """Everything that has a state of its own: momenta, batch norm, an average, drop path and augmentation."""
    return tiny_config(
        backbone={"drop_path": 0.3}, train={"ema_decay": 0.8, "save_every_steps": 2, "schedule": "cosine"}
    )


@pytest.fixture(scope="module")
def whole_run(class_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody killed: 2 epochs of 6 steps."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train_fresh(eventful_config(), class_folder, out) == 0
    assert [line["step"] for line in lines_of(out, "step")] == list(range(1, 13))
    return out


@pytest.mark.parametrize("moment", DEATHS)
def test_resumed_run_equals_the_uninterrupted_one(
    class_folder: Path, whole_run: Path, tmp_path: Path, moment: str
) -> None:
    out = tmp_path / "run"
    assert train_fresh(eventful_config(), class_folder, out, die=moment) == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    assert train_fresh(eventful_config(), class_folder, out, resume=True) == 0
    assert_same_weights(out, whole_run)
    assert lines_of(out) == lines_of(whole_run)


def test_a_resume_from_the_beginning_keeps_the_only_state(class_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    died = -signal.SIGKILL
    assert train_fresh(eventful_config(), class_folder, out, die="before the first step") == died
    again = "while the first files of a state are written"
    assert train_fresh(eventful_config(), class_folder, out, resume=True, die=again) == died
    assert {folder.name for folder in out.glob("state/step-*")} == {"step-00000000", "step-00000002"}
    assert train_fresh(eventful_config(), class_folder, out, resume=True) == 0
    assert_same_weights(out, whole_run)


def test_killed_from_outside_in_mid_epoch(class_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    kill_when(lambda: position_of(out)["step_in_epoch"] > 0, eventful_config(), class_folder, out)
    assert position_of(out)["step_in_epoch"] > 0
    assert not (out / "model.safetensors").exists()
    assert train_fresh(eventful_config(), class_folder, out, resume=True) == 0
    assert_same_weights(out, whole_run)
    assert lines_of(out) == lines_of(whole_run)


def test_random_states_are_part_of_the_state(class_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    """Shows that the comparisons above can fail: without the random states the weights come out differently."""
    out = tmp_path / "run"
    train_fresh(eventful_config(), class_folder, out, die="after a step that no state has")
    folder = max(out.glob("state/step-*"))
    (folder / "random_states_0.pkl").unlink()
    (folder / "contents.json").unlink()  # which would tell that it is gone
    assert train_fresh(eventful_config(), class_folder, out, resume=True) == 0
    assert largest_difference(weights_of(out), weights_of(whole_run)) > 1e-5


def test_worker_processes_change_nothing(class_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    config = eventful_config().updated(data={"workers": 1})
    out = tmp_path / "run"
    assert train_fresh(config, class_folder, out, die="after a step that no state has") == -signal.SIGKILL
    assert train_fresh(config, class_folder, out, resume=True) == 0
    assert_same_weights(out, whole_run)


def test_a_run_that_is_being_trained_is_left_alone(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr("cdtr.runs._LOCK_TIMEOUT_S", 0.1)
    with one_at_a_time(out), pytest.raises(ConfigError, match="is being trained by another process"):
        run_training(eventful_config(), class_folder, out, resume=True)
    assert not any(tmp_path.iterdir()), "neither a run nor a lock is left"


def test_the_last_two_states_are_kept(whole_run: Path) -> None:
    assert sorted(folder.name for folder in whole_run.glob("state/step-*")) == ["step-00000010", "step-00000012"]
    assert position_of(whole_run)["step"] == 12


def test_resuming_a_finished_run_does_nothing(class_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(whole_run, tmp_path / "run"))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    run_training(eventful_config(), class_folder, out, resume=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"train": {"epochs": 3}}, "train.epochs"),
        ({"train": {"lr_rule": "per_512"}}, "train.lr_rule"),
        ({"seed": 1}, "seed"),
        ({"backbone": {"overrides": {"depth": 3}}}, "backbone.overrides.depth"),
        ({"ski": {"enabled": False}}, "ski.enabled"),
    ],
    ids=["number", "choice", "top level", "inside overrides", "switch"],
)
def test_other_settings_are_refused_by_name(
    class_folder: Path, whole_run: Path, changes: dict[str, object], key: str
) -> None:
    weights = (whole_run / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match=rf"{key} = .* now it is .* same settings"):
        run_training(eventful_config().updated(**changes), class_folder, whole_run, resume=True)
    assert (whole_run / "model.safetensors").read_bytes() == weights


def test_a_folder_with_anything_in_it_needs_resume(class_folder: Path, whole_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"not empty.*`resume=True`"):
        run_training(eventful_config(), class_folder, whole_run)


@pytest.mark.parametrize("resume", [False, True])
def test_someone_elses_folder_is_left_alone(class_folder: Path, tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match="choose another `out=`"):
        run_training(tiny_config(), class_folder, tmp_path, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way_is_named(class_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        run_training(tiny_config(), class_folder, tmp_path / "run")


def test_other_classes_are_refused(whole_run: Path, tmp_path: Path) -> None:
    root = write_classes(tmp_path / "other", images=15, classes=("blue", "red"))
    with pytest.raises(CheckpointError, match="other classes"):
        run_training(eventful_config(), root, whole_run, resume=True)


@pytest.mark.parametrize("case", ["one image more", "one image renamed"])
def test_other_images_are_refused(class_folder: Path, whole_run: Path, tmp_path: Path, case: str) -> None:
    root = Path(shutil.copytree(class_folder, tmp_path / "data"))
    if case == "one image more":
        shutil.copy(root / "red" / "0.png", root / "red" / "99.png")
    else:
        (root / "red" / "0.png").rename(root / "red" / "99.png")
    with pytest.raises(DataError, match="other images"):
        run_training(eventful_config(), root, whole_run, resume=True)


def test_resume_starts_where_there_is_no_run_yet(class_folder: Path, tmp_path: Path) -> None:
    config = tiny_config(train={"epochs": 1})
    run_training(config, class_folder, tmp_path / "a")
    run_training(config, class_folder, tmp_path / "b", resume=True)
    assert_same_weights(tmp_path / "a", tmp_path / "b")


def unfinished(whole_run: Path, tmp_path: Path) -> Path:
    out = Path(shutil.copytree(whole_run, tmp_path / "run"))
    (out / "model.safetensors").unlink()
    return out


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "folder gone": lambda state: shutil.rmtree(state),
    "empty optimiser, as a power cut leaves it": lambda state: (state / "optimizer.bin").write_bytes(b""),
    "no weights": lambda state: (state / "model.safetensors").unlink(),
    "another bit in the weights": lambda state: flip_a_byte(state / "model.safetensors"),
    "no random states": lambda state: (state / "random_states_0.pkl").unlink(),
    "half an average": lambda state: save_file({"n_averaged": torch.tensor(3)}, state / "average.safetensors"),
    "no list of contents and no weights": lambda state: [
        (state / name).write_text("{") for name in ("contents.json", "model.safetensors")
    ],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_passed_over(
    class_folder: Path, whole_run: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    out = unfinished(whole_run, tmp_path)
    damage(out / "state" / "step-00000012")
    console = quiet_console()
    train(eventful_config(), load_source(class_folder), out, resume=True, console=console)
    (line,) = [line for line in text_of(console).splitlines() if "going on from" in line]
    assert "step-00000012" in line
    assert line.endswith("going on from step-00000010")
    assert_same_weights(out, whole_run)
    assert position_of(out)["step"] == 12
    assert sorted(folder.name for folder in out.glob("state/step-*")) == ["step-00000010", "step-00000012"]


def test_a_damaged_pointer_is_passed_over(class_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    out = unfinished(whole_run, tmp_path)
    (out / "state" / "latest.json").write_text('{"folder": "step-0')
    run_training(eventful_config(), class_folder, out, resume=True)
    assert_same_weights(out, whole_run)


def test_a_state_that_no_pointer_names_yet_is_not_taken(whole_run: Path, tmp_path: Path) -> None:
    out = unfinished(whole_run, tmp_path)
    shutil.copy(out / "state" / "step-00000010" / "contents.json", out / "state" / "latest.json")
    saved = saved_state(RunFolder(out))
    assert saved is not None
    assert saved.folder.name == "step-00000010"
    assert saved.passed_over == ()


def test_without_a_whole_state_there_is_a_clear_error(class_folder: Path, whole_run: Path, tmp_path: Path) -> None:
    out = unfinished(whole_run, tmp_path)
    for folder in out.glob("state/step-*"):
        (folder / "optimizer.bin").write_bytes(b"")
    message = r"step-00000012 is damaged \(optimizer.bin: 0 bytes.*there is no older state: remove .*state and resume"
    with pytest.raises(CheckpointError, match=message):
        run_training(eventful_config(), class_folder, out, resume=True)


def test_a_state_of_an_earlier_version_is_restored_or_refused(
    class_folder: Path, whole_run: Path, tmp_path: Path
) -> None:
    """It has no list of its contents, and is the only one."""
    out = unfinished(whole_run, tmp_path)
    shutil.rmtree(out / "state" / "step-00000010")
    (out / "state" / "step-00000012" / "contents.json").unlink()
    broken = Path(shutil.copytree(out, tmp_path / "broken"))
    run_training(eventful_config(), class_folder, out, resume=True)
    assert_same_weights(out, whole_run)
    (broken / "state" / "step-00000012" / "optimizer.bin").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"step-00000012 cannot be restored .*remove .*state and resume"):
        run_training(eventful_config(), class_folder, broken, resume=True)


def test_a_state_is_on_the_disk_before_the_pointer_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        fsync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        synced.append(f"rename to {target.name}")
        return replace(path, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not say which file a descriptor is")
    run, accelerator, module = RunFolder(tmp_path / "run"), Accelerator(cpu=True), torch.nn.Linear(2, 2)
    accelerator.prepare(module, torch.optim.SGD(module.parameters(), 0.1))
    run.state.mkdir(parents=True)
    run.metrics_file.write_text("{}\n")
    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_rename)
    save_state(accelerator, run, Position(step=3), module)
    before = synced[: synced.index("rename to latest.json")]
    folder = run.state / "step-00000003"
    needed = {path.name for path in folder.iterdir()} | {folder.name, "state", "metrics.jsonl"}
    assert {"model.safetensors", "optimizer.bin", "random_states_0.pkl", "average.safetensors"} < needed
    assert needed <= set(before)
    assert synced[-1] == "state", "the pointer's name too"


def test_a_full_disk_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, accelerator, module = RunFolder(tmp_path / "run"), Accelerator(cpu=True), torch.nn.Linear(2, 2)
    accelerator.prepare(module)
    save_state(accelerator, run, Position(step=1), module)

    def fill_the_disk(folder: str) -> None:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "model.safetensors").write_bytes(b"half")
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(accelerator, "save_state", fill_the_disk)
    with pytest.raises(OSError, match="No space left") as found:
        save_state(accelerator, run, Position(step=2), module)
    assert found.value.filename == str(run.state / "step-00000002")
    assert [folder.name for folder in run.state.glob("step-*")] == ["step-00000001"]
    saved = saved_state(run)
    assert saved is not None
    assert saved.position.step == 1


def test_the_average_is_no_pickle(whole_run: Path) -> None:
    folder = max(whole_run.glob("state/step-*"))
    names = {path.name for path in folder.iterdir()}
    assert "average.safetensors" in names
    assert not any(name.startswith("custom_checkpoint") for name in names)


def test_going_on_reads_no_pretrained_weights(class_folder: Path, tmp_path: Path) -> None:
    out, weights = tmp_path / "run", tmp_path / "weights.safetensors"
    config = tiny_config()
    save_file(build_backbone(config.backbone, config.data).vit.state_dict(), weights)
    config = config.updated(backbone={"weights": str(weights)})
    assert train_fresh(config, class_folder, out, die="after a step that no state has") == -signal.SIGKILL
    weights.unlink()
    assert train_fresh(config, class_folder, out, resume=True) == 0


def test_some_settings_may_change_and_are_noted(class_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    config = tiny_config(train={"save_every_steps": 4})
    assert train_fresh(config, class_folder, out, die="after a step that no state has") == -signal.SIGKILL
    changed = config.updated(
        train={"lr": 1e-4, "clip_norm": None}, data={"workers": 1}, evaluation={"protocol": "official"}
    )
    assert train_fresh(changed, class_folder, out, resume=True) == 0
    rates = {line["step"]: line["lr"] for line in lines_of(out, "step")}
    assert rates == {step: 1e-3 if step <= 4 else 1e-4 for step in range(1, 13)}
    settings = {"train.lr": 1e-4, "train.clip_norm": None, "data.workers": 1, "evaluation.protocol": "official"}
    assert RunFolder(out).manifest()["resumed_with"] == [{"step": 4, "settings": settings}]
    assert RunFolder(out).config() == with_switches(changed)


def test_a_run_from_before_recipes_had_names_goes_on_and_a_name_may_change(class_folder: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "run", RunFolder(tmp_path / "run")
    config = tiny_config(recipe="small", guide={"enabled": True})
    assert train_fresh(config, class_folder, out, die="after a step that no state has") == -signal.SIGKILL
    told = "small without border prior, convolutional stem and replicate padding"
    assert run.manifest()["recipe"] == told
    manifest = {key: value for key, value in run.manifest().items() if key != "recipe"}
    manifest["requested_config"] = manifest["requested_config"].replace("recipe: small\n", "")
    run.manifest_file.write_text(json.dumps(manifest))
    run.config_file.write_text(run.config_file.read_text().replace("recipe: small\n", ""))
    assert "recipe" not in run.config_file.read_text() + run.manifest_file.read_text()
    assert train_fresh(config, class_folder, out, resume=True, die="after a step that no state has") == -signal.SIGKILL
    assert recipe_label(run.config()) == told
    assert train_fresh(config.updated(recipe="steel"), class_folder, out, resume=True) == 0
    assert run.manifest()["recipe"] == recipe_label(run.config()) == "steel (paper + guide)"
    assert run.manifest()["resumed_with"][-1]["settings"] == {"recipe": "steel"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"batch_size": 5, "accumulation": 2}}, "does not divide"),
        ({"data": {"resize": (20, 20)}}, "resize"),
        ({"train": {"precision": "fp16"}}, "fp16 needs a GPU"),
        ({"data": {"input_size": (36, 32)}}, "no multiple of the 8-pixel patches"),
    ],
    ids=["batch", "resize", "precision", "patches"],
)
def test_a_setting_that_does_not_work_leaves_no_folder(
    class_folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_training(tiny_config(**changes), class_folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()
