"""Trainings whose object prior are maps in files."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from training_helpers import (
    assert_same_weights,
    largest_difference,
    noise_image,
    quiet_console,
    run_training,
    text_of,
    tiny_config,
    train_fresh,
    train_group,
    weights_of,
)

from cdtr.api import load_model
from cdtr.config import Config, recipe_label
from cdtr.data.datasets import load_source
from cdtr.data.loader import eval_loader
from cdtr.data.split import hold_out, training_samples
from cdtr.errors import DataError
from cdtr.model.maps import correlation
from cdtr.records import Sample
from cdtr.training.loop import train


@pytest.fixture
def maps(class_folder: Path, tmp_path: Path) -> Path:
    """A map of noise for each of the 30 images."""
    noise = np.random.default_rng(0)
    for path in sorted(class_folder.rglob("*.png")):
        target = tmp_path / "maps" / path.relative_to(class_folder).with_suffix(".npy")
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, noise.random((12, 9)))
    return tmp_path / "maps"


def config(maps: Path, **changes: Any) -> Config:
    return tiny_config(
        guide={"enabled": True, "width": 32},
        ocm={"k": 2, "prior": "maps"},
        data={"prior_maps": str(maps), "prior_maps_taught_with": "masks", "augment": "shift_flip"},
        train={"epochs": 1, "save_every_steps": 2},
    ).updated(**changes)


def test_the_run_says_what_taught_it_and_the_scale_of_maps_changes_nothing(
    class_folder: Path, maps: Path, tmp_path: Path
) -> None:
    console = quiet_console()
    run = train(config(maps), load_source(class_folder), tmp_path / "run", console=console)
    assert f"prior maps: 24 of {maps}, taught with: masks" in text_of(console)
    assert "are constant" not in text_of(console)
    assert recipe_label(run.config()) == run.manifest()["recipe"] == "paper + guide + prior maps (masks)"
    noted = run.manifest()["prior_maps"]
    assert noted["folder"] == str(maps)
    assert noted["images"] == 24
    assert noted["constant"] == 0
    assert noted["taught_with"] == "masks"
    for path in maps.rglob("*.npy"):
        np.save(path, 4 * np.load(path))
    assert_same_weights(run_training(config(maps), class_folder, tmp_path / "scaled").path, run.path)
    for path in maps.rglob("*.npy"):
        np.save(path, -np.load(path))
    other = run_training(config(maps), class_folder, tmp_path / "other").path
    assert largest_difference(weights_of(other), weights_of(run.path)) > 1e-4


def test_constant_maps_are_counted_and_held_out_images_need_none(
    class_folder: Path, maps: Path, tmp_path: Path
) -> None:
    fit, held = hold_out(training_samples(load_source(class_folder)), 0.2, 0)
    np.save(map_of(maps, fit[0]), np.ones((3, 3)))
    map_of(maps, held[0]).unlink()
    console = quiet_console()
    settings = config(maps, data={"prior_maps_taught_with": "unknown"})
    run = train(settings, load_source(class_folder), tmp_path / "run", console=console)
    assert run.manifest()["prior_maps"]["constant"] == 1
    assert f"24 of {maps}, taught with: unknown: set data.prior_maps_taught_with" in text_of(console)
    said = f"1 of 24 prior maps are constant, such as that of {fit[0].image_id}: these images teach nothing about"
    assert said in text_of(console)
    map_of(maps, fit[0]).unlink()
    with pytest.raises(DataError, match=f"lacks the maps of 1 of 24 images, such as {fit[0].image_id}: expected"):
        run_training(config(maps), class_folder, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def map_of(maps: Path, sample: Sample) -> Path:
    return (maps / sample.image_id).with_suffix(".npy")


def test_a_killed_training_goes_on_to_the_same_weights_from_a_moved_folder(
    class_folder: Path, maps: Path, tmp_path: Path
) -> None:
    out, moved = tmp_path / "run", tmp_path / "moved"
    assert train_fresh(config(maps), class_folder, tmp_path / "whole") == 0
    assert train_fresh(config(maps), class_folder, out, die="after a step that no state has") == -signal.SIGKILL
    shutil.copytree(maps, moved)
    (path,) = (path for path in moved.rglob("0.npy") if path.parent.name == "red")
    kept = np.load(path)
    np.save(path, kept[::-1])
    again = config(moved, data={"prior_maps_taught_with": "boxes"})
    with pytest.raises(DataError, match=r"was started with other prior maps than .*moved has: resume with the same"):
        run_training(again, class_folder, out, resume=True)
    np.save(path, kept)
    run = run_training(again, class_folder, out, resume=True)
    assert_same_weights(out, tmp_path / "whole")
    assert run.manifest()["recipe"] == "paper + guide + prior maps (boxes)"
    assert run.manifest()["prior_maps"]["folder"] == str(moved)
    shutil.rmtree(moved)
    assert run_training(again, class_folder, out, resume=True).weights.is_file()


def test_two_processes_equal_one_and_stop_together_at_a_bad_map(class_folder: Path, maps: Path, tmp_path: Path) -> None:
    settings = config(maps, train={"eps": 1e-3, "lr": 3e-3})
    assert [answer["error"] for answer in train_group(settings, class_folder, tmp_path / "two")] == [None, None]
    assert train_fresh(settings, class_folder, tmp_path / "one") == 0
    assert largest_difference(weights_of(tmp_path / "two"), weights_of(tmp_path / "one")) < 1e-5
    fit, _ = hold_out(training_samples(load_source(class_folder)), 0.2, 0)
    np.save(map_of(maps, fit[0]), np.full((3, 3), np.nan))
    errors = [answer["error"] for answer in train_group(settings, class_folder, tmp_path / "bad")]
    assert errors == [f"DataError: {map_of(maps, fit[0])} holds NaN or infinity: expected finite numbers"] * 2
    assert not (tmp_path / "bad").exists()


def test_a_folder_that_is_not_used_is_said(class_folder: Path, tmp_path: Path) -> None:
    console = quiet_console()
    settings = config(tmp_path / "missing", ocm={"prior": "border"})
    run = train(settings, load_source(class_folder), tmp_path / "run", console=console)
    assert "data.prior_maps is not used: set ocm.prior=maps" in text_of(console)
    assert run.manifest()["prior_maps"] is None
    assert recipe_label(run.config()) == "paper + guide + border prior"


@pytest.mark.parametrize("sign", [1, -1], ids=["objects", "all but objects"])
def test_attention_learns_the_maps_through_the_augmentation(sign: int, tmp_path: Path) -> None:
    """A white square anywhere in noise: attention finds it, or all but it, in images as they are."""
    places, truth = np.random.default_rng(0), {}
    for number in range(40):
        name = f"{('green', 'red')[number % 2]}/{number}"
        image, (left, top) = noise_image(name.partition("/")[0], number, spread=20), places.integers(0, 24, 2)
        image.paste("white", (left, top, left + 16, top + 16))
        truth[f"{name}.png"] = shown = np.zeros((40, 40), dtype=np.float32)
        shown[top : top + 16, left : left + 16] = 1
        for folder in ("data", "maps"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "data" / f"{name}.png")
        np.save(tmp_path / "maps" / f"{name}.npy", sign * shown)
    settings = config(tmp_path / "maps", train={"epochs": 8, "batch_size": 8, "lr": 3e-3})
    model = load_model(str(run_training(settings, tmp_path / "data", tmp_path / "run").path))
    found = []
    with torch.inference_mode():
        for batch in eval_loader(load_source(tmp_path / "data").splits["train"], settings):
            attention = model(batch.images).attention
            maps = torch.stack([torch.from_numpy(truth[sample.image_id]) for sample in batch.samples])
            found.append(correlation(attention, F.adaptive_avg_pool2d(maps[:, None], attention.shape[-2:])[:, 0]))
    assert sign * torch.cat(found).mean().item() > 0.9
