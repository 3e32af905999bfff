"""A small CLIP from class labels, and the folder it is kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_helpers import lines_of, quiet_console, run_training, tiny_config, write_classes

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.data.loader import eval_loader
from cdtr.data.split import hold_out
from cdtr.errors import ConfigError, DataError
from cdtr.model.clip import FrozenClip, load_clip
from cdtr.training import clip as training_clip
from cdtr.training.clip import SmallClip, hide_parts, train_clip
from cdtr.training.clip_fit import ClipFit, probe_clip

TINY = SmallClip(
    image_size=32,
    width=8,
    blocks=1,
    text_width=32,
    text_layers=1,
    embed_dim=16,
    epochs=15,
    batch_size=6,
    lr=3e-3,
)
CONFIG: Config = tiny_config()
Trained = tuple[Path, Path, ClipFit, FrozenClip]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Data, folder, fit, and the CLIP as it was in memory."""
    folder = tmp_path_factory.mktemp("clip")
    root = write_classes(folder / "data", images=15)
    kept: list[FrozenClip] = []
    with pytest.MonkeyPatch.context() as patch:
        freeze = training_clip.freeze

        def keeping(*args: Any) -> FrozenClip:
            kept.append(freeze(*args))
            return kept[-1]

        patch.setattr(training_clip, "freeze", keeping)
        fit = train_clip(CONFIG, load_source(root), folder / "clip", TINY, quiet_console())
    return root, folder / "clip", fit, kept[0]


def test_it_learns_two_colours(trained: Trained) -> None:
    fit = trained[2]
    assert fit.fit > 0.5
    assert fit.images == 6
    assert fit.chance == 0.5


def test_the_folder_gives_the_same_features(trained: Trained) -> None:
    _, folder, _, kept = trained
    loaded = load_clip(str(folder), "none")
    pixels = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.image_features(pixels), kept.image_features(pixels))
    templates = ("a photo of {}", "the {}")
    assert torch.equal(
        loaded.text_features(["red", "green"], templates), kept.text_features(["red", "green"], templates)
    )
    assert loaded.size_hw == kept.size_hw
    assert loaded.mean == kept.mean
    assert loaded.std == kept.std
    assert loaded.temperature == kept.temperature
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_the_loaded_clip_has_the_fit_that_was_told(trained: Trained) -> None:
    root, folder, fit, _ = trained
    clip = load_clip(str(folder), "openai")
    held_out = hold_out(load_source(root).splits["train"], CONFIG.data.holdout, CONFIG.seed)[1]
    config = CONFIG.updated(data={"input_size": (32, 32)})
    text = clip.text_features(("green", "red"), config.sba.templates)
    assert probe_clip(clip, text, eval_loader(held_out, config), config.data) == fit


def test_sba_trains_with_the_folder(trained: Trained, tmp_path: Path) -> None:
    root, folder, _, _ = trained
    config = CONFIG.updated(sba={"enabled": True, "model": str(folder)}, train={"epochs": 1})
    run = run_training(config, root, tmp_path / "run")
    assert "sba" in lines_of(run.path, "epoch")[0]["terms"]
    assert run.manifest()["clip_fit"]["fit"] > 0.5


def test_the_folder_holds_no_pickle(trained: Trained) -> None:
    assert sorted(path.name for path in trained[1].iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]


@pytest.mark.parametrize("taken_by", ["a file in it", "a file"])
def test_something_in_the_way_is_refused_before_training(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken_by: str
) -> None:
    monkeypatch.setattr(training_clip, "_fit", lambda *_: pytest.fail("it trained"))
    out = tmp_path / "clip"
    if taken_by == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="choose another `out=`"):
        train_clip(CONFIG, load_source(trained[0]), out, TINY, quiet_console())


def test_the_seed_decides(trained: Trained, tmp_path: Path) -> None:
    root, folder, _, _ = trained
    weights = "open_clip_model.safetensors"
    (tmp_path / "empty").mkdir()
    train_clip(CONFIG, load_source(root), tmp_path / "empty", TINY, quiet_console())
    assert (tmp_path / "empty" / weights).read_bytes() == (folder / weights).read_bytes()


@pytest.mark.parametrize("epochs", [1, 2, 10], ids=["one", "two", "a warm-up of one step"])
def test_few_steps_are_enough_to_run(trained: Trained, tmp_path: Path, epochs: int) -> None:
    from dataclasses import replace

    settings = replace(TINY, epochs=epochs, batch_size=64)
    fit = train_clip(CONFIG.updated(data={"holdout": 0}), load_source(trained[0]), tmp_path / "c", settings)
    assert fit.images == 30


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    for name in ("green", "red"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 training images"):
        train_clip(CONFIG, load_source(tmp_path / "data"), tmp_path / "clip", TINY, quiet_console())
    assert not (tmp_path / "clip").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_hide_parts(share: float) -> None:
    """Each image is whole, or black in a rectangle, or black outside one; the share is that of the latter two."""
    torch.manual_seed(0)
    pixels = torch.ones(400, 3, 16, 16)
    hidden = hide_parts(pixels, share)
    assert set(hidden.unique().tolist()) <= {0.0, 1.0}
    touched = (hidden == 0).flatten(1).any(dim=1)
    assert float(touched.float().mean()) == pytest.approx(share, abs=0.12)
    for image in hidden:
        assert (image[0] == image[1]).all()
        assert (image[0] == image[2]).all()
        assert is_rectangle(image[0] == 0) or is_rectangle(image[0] == 1)


def is_rectangle(inside: torch.Tensor) -> bool:
    """Whether the true values of (H, W) fill the rows and columns that have any."""
    return bool((inside == (inside.any(dim=1)[:, None] & inside.any(dim=0)[None, :])).all())
