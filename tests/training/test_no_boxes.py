"""Training sees images and class labels, and nothing else that a data set knows."""

from __future__ import annotations

import dataclasses
import random
import shutil
from pathlib import Path

import pytest
from training_helpers import (
    assert_same_weights,
    largest_difference,
    noise_image,
    quiet_console,
    run_training,
    tiny_config,
    weights_of,
)

from cdtr.config import Config
from cdtr.data.datasets import load_source
from cdtr.records import Annotation, Sample
from cdtr.training.loop import train

CONFIG: Config = tiny_config(train={"epochs": 1})


def write_neu_det(root: Path, boxes: str) -> Path:
    """10 images of each of two classes with boxes: ``true``, ``random`` ones, or files that are ``broken``."""
    for folder in ("IMAGES", "ANNOTATIONS"):
        (root / folder).mkdir(parents=True)
    chance = random.Random(1)
    for label, (name, colour) in enumerate((("crazing", "red"), ("scratches", "blue"))):
        for number in range(1, 11):
            noise_image(colour, 100 * label + number).save(root / "IMAGES" / f"{name}_{number}.png")
            low = 10 if boxes == "true" else chance.randint(1, 20)
            high = 30 if boxes == "true" else chance.randint(low, 40)
            corners = f"<xmin>{low}</xmin><ymin>{low}</ymin><xmax>{high}</xmax><ymax>{high}</ymax>"
            text = f"<annotation><object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"
            (root / "ANNOTATIONS" / f"{name}_{number}.xml").write_text(text if boxes != "broken" else text[:40])
    return root


@pytest.fixture(scope="module")
def with_boxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data and a run on it."""
    folder = tmp_path_factory.mktemp("neu")
    root = write_neu_det(folder / "data", "true")
    return root, run_training(CONFIG, root, folder / "run").path


@pytest.mark.parametrize("boxes", ["random", "broken"])
def test_scrambled_boxes_change_no_bit(with_boxes: tuple[Path, Path], tmp_path: Path, boxes: str) -> None:
    source = load_source(write_neu_det(tmp_path / "data", boxes))
    assert source.name == "neu_det"
    assert source.annotated is True
    train(CONFIG, source, tmp_path / "run", console=quiet_console())
    assert_same_weights(tmp_path / "run", with_boxes[1])


def test_no_annotations_at_all(with_boxes: tuple[Path, Path], tmp_path: Path) -> None:
    root = write_neu_det(tmp_path / "data", "true")
    shutil.rmtree(root / "ANNOTATIONS")
    (root / "ANNOTATIONS").mkdir()
    run_training(CONFIG, root, tmp_path / "run")
    assert_same_weights(tmp_path / "run", with_boxes[1])


def test_annotations_are_never_asked_for(with_boxes: tuple[Path, Path], tmp_path: Path) -> None:
    def forbidden(sample: Sample) -> Annotation | None:
        raise AssertionError(f"training asked for the boxes of {sample.image_id}")

    source = dataclasses.replace(load_source(with_boxes[0]), annotate=forbidden)
    train(CONFIG, source, tmp_path / "run", console=quiet_console())
    assert_same_weights(tmp_path / "run", with_boxes[1])


def test_other_splits_are_never_looked_at(with_boxes: tuple[Path, Path], tmp_path: Path) -> None:
    source = load_source(with_boxes[0])
    assert source.splits["val"]
    train(CONFIG, dataclasses.replace(source, splits={"train": source.splits["train"]}), tmp_path / "run")
    assert_same_weights(tmp_path / "run", with_boxes[1])


def test_labels_do_change_the_weights(with_boxes: tuple[Path, Path], tmp_path: Path) -> None:
    """Shows that the comparisons above can fail."""
    source = load_source(with_boxes[0])
    swapped = tuple(dataclasses.replace(sample, label=1 - sample.label) for sample in source.splits["train"])
    other = dataclasses.replace(source, splits={"train": swapped})
    train(CONFIG, other, tmp_path / "run", console=quiet_console())
    assert largest_difference(weights_of(tmp_path / "run"), weights_of(with_boxes[1])) > 1e-3
