"""Training with classes without an object: which images teach what, and what a resumed run may not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training_helpers import quiet_console, run_training, text_of, tiny_config, weights_of, write_classes

import cdtr
from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.errors import ConfigError, DataError
from cdtr.model.methods.cdtr import Cdtr
from cdtr.records import Batch, ModelOutput
from cdtr.training import loop
from cdtr.workflows.reporting import Silent

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "set", 6, CLASSES)


def config_of(*empty: str, **changes: Any) -> Config:
    changes = {"guide": {"enabled": True}, "ocm": {"k": 2, "prior": "border"}, "train": {"epochs": 1}} | changes
    return tiny_config(data={"empty_classes": empty, "holdout": 0.2}, **changes)


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[bool] | None]]:
    """Labels of each batch that a training learns from, and which of its images have an object."""
    seen: list[tuple[list[int], list[bool] | None]] = []
    losses = Cdtr.losses

    def noting(self: Cdtr, output: ModelOutput, batch: Batch) -> dict[str, torch.Tensor]:
        mask = None if batch.has_object is None else batch.has_object.tolist()
        seen.append((batch.labels.tolist(), mask))
        return losses(self, output, batch)

    monkeypatch.setattr(Cdtr, "losses", noting)
    return seen


def test_every_batch_says_which_images_have_an_object(root: Path, tmp_path: Path, masks: list[Any]) -> None:
    run = run_training(config_of("green"), root, tmp_path / "run")
    assert run.config().data.empty_classes == ("green",)
    assert masks
    for labels, mask in masks:
        assert mask == [label != CLASSES.index("green") for label in labels]
    assert all(torch.isfinite(value.float()).all() for value in weights_of(run.path).values())


def test_without_empty_classes_no_image_is_left_out(root: Path, tmp_path: Path, masks: list[Any]) -> None:
    run_training(config_of(), root, tmp_path / "run")
    assert masks
    assert all(mask is None for _, mask in masks)


def test_a_resumed_run_keeps_its_empty_classes(root: Path, tmp_path: Path) -> None:
    run_training(config_of("green"), root, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"started with data.empty_classes = \['green'\], now it is \[\]"):
        run_training(config_of(), root, tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match=r"now it is \['green', 'red'\]"):
        run_training(config_of("green", "red"), root, tmp_path / "run", resume=True)
    run_training(config_of("green"), root, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("empty", "message"),
    [(("grene",), "did you mean 'green'"), (CLASSES, "names all 3 classes")],
    ids=["unknown", "all"],
)
def test_bad_classes_leave_no_folder(root: Path, tmp_path: Path, empty: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        loop.train(config_of(*empty), load_source(root), tmp_path / "run", console=quiet_console())
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


class Notes(Silent):
    """Keeps the notes of a workflow."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def test_training_suggests_what_to_set_where_it_is_not_set(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "set", 4, ("green", "red"))
    (root / "green").rename(root / "good")
    for name, empty, expected in (("a", (), True), ("b", ("good",), False)):
        notes = Notes()
        cdtr.train(root, tmp_path / name, config_of(*empty), reporter=notes)
        said = [line for line in notes.lines if "data.empty_classes=[good]" in line]
        assert len(said) == expected, notes.lines


def test_the_shared_prior_is_fitted_to_images_with_an_object(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "set", 5, CLASSES)
    settings = {
        "backbone": {
            "stem": "cnn",
            "cnn": {"name": "resnet10t", "weights": "none", "reductions": [8, 16], "cache": False},
        },
        "guide": {"enabled": True, "features": "backbone"},
        "ocm": {"k": 2, "prior": "shared"},
    }
    directions = {}
    for name, empty in (("all", ()), ("some", ("green",)), ("again", ("green",))):
        console = quiet_console()
        config = config_of(*empty, **settings)
        run = loop.train(config, load_source(root), tmp_path / name, console=console)
        directions[name] = weights_of(run.path)["guide.direction"]
        assert f"features of {8 if empty else 12} images" in text_of(console)
    assert not torch.equal(directions["all"], directions["some"])
    assert torch.equal(directions["some"], directions["again"])
