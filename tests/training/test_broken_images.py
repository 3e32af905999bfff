"""Images that cannot be read are left out, counted and reported; they end no training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from training_helpers import (
    assert_same_weights,
    cut_jpeg,
    lines_of,
    quiet_console,
    run_training,
    text_of,
    tiny_config,
    write_classes,
)

from cdtr.data.datasets import load_source
from cdtr.data.split import hold_out
from cdtr.errors import DataError
from cdtr.training.loop import train

CONFIG = tiny_config(train={"epochs": 1})


def test_broken_headers_are_left_out_before_the_split(tmp_path: Path) -> None:
    """The training is the one that never had them."""
    sound, mixed = (write_classes(tmp_path / name, images=8) for name in ("sound", "mixed"))
    (mixed / "green" / "empty.png").write_bytes(b"")
    (mixed / "red" / "text.jpg").write_text("no image")
    console = quiet_console()
    run = train(CONFIG, load_source(mixed), tmp_path / "a", console=console)
    run_training(CONFIG, sound, tmp_path / "b")
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    broken = run.manifest()["broken_images"]
    assert sorted(broken) == ["green/empty.png", "red/text.jpg"]
    assert "is empty" in broken["green/empty.png"]
    assert "no image" in broken["red/text.jpg"]
    assert {name: split["images"] for name, split in run.manifest()["splits"].items()} == {"fit": 12, "held_out": 4}
    with Image.open(next((sound / "red").iterdir())) as image:
        assert run.trained_hw() == (image.height, image.width) != run.config().data.resize
    said = text_of(console)
    assert "left out green/empty.png: " in said
    assert "12 training images of 2 classes, 4 held out, 2 broken left out" in said


def test_images_that_break_when_decoded_are_reported(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "data", images=6)
    cut_jpeg(root / "red" / "cut.jpg")
    config = CONFIG.updated(data={"holdout": 0}, train={"batch_size": 13})
    with pytest.warns(UserWarning, match=r"left out red/cut\.jpg"):
        run = run_training(config, root, tmp_path / "run")
    assert list(run.manifest()["broken_images"]) == ["red/cut.jpg"]
    assert "cannot be decoded" in run.manifest()["broken_images"]["red/cut.jpg"]


def test_a_run_with_them_can_be_resumed(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "data", images=6)
    (root / "green" / "empty.png").write_bytes(b"")
    cut_jpeg(root / "red" / "cut.jpg")
    config = CONFIG.updated(data={"holdout": 0}, train={"batch_size": 13})
    with pytest.warns(UserWarning, match="left out"):
        run = run_training(config, root, tmp_path / "run")
    before = run.manifest()
    assert sorted(before["broken_images"]) == ["green/empty.png", "red/cut.jpg"]
    run_training(config, root, tmp_path / "run", resume=True)
    assert run.manifest() == before


def test_a_broken_held_out_image_is_not_counted_as_wrong(tmp_path: Path) -> None:
    """It is left out of the percentage and reported."""
    root = write_classes(tmp_path / "data", images=10)
    for name in ("green", "red"):
        for path in sorted((root / name).iterdir()):
            path.rename(path.with_suffix(".jpg"))
    cut = hold_out(load_source(root).splits["train"], 0.2, 0)[1]
    for sample in cut[1:]:
        cut_jpeg(sample.path)
    with pytest.warns(UserWarning, match="left out"):
        run = run_training(CONFIG, root, tmp_path / "run")
    assert sorted(run.manifest()["broken_images"]) == sorted(sample.image_id for sample in cut[1:])
    assert lines_of(run.path, "epoch")[0]["held_out"]["top1_cls"] in {0.0, 100.0}


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    for name in ("green", "red"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "0.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 training images"):
        run_training(CONFIG, tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_names_that_look_like_markup_are_shown_and_end_no_training(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "data", images=4)
    (root / "red" / "x[").mkdir()
    names = ["red/x[/b].jpg", "red/[green]a.jpg", "red/a\x1b[2J.jpg"]
    for name in names:
        (root / name).write_text("no image")
    console = quiet_console()
    run = train(CONFIG, load_source(root), tmp_path / "run", console=console)
    assert sorted(run.manifest()["broken_images"]) == sorted(names)
    said = text_of(console)
    assert "left out red/x[/b].jpg: " in said
    assert "left out red/[green]a.jpg: " in said
    assert "left out red/a\\x1b[2J.jpg: " in said
    assert "\x1b" not in said


@pytest.mark.parametrize("name", ["a\u2028b", "a\x85b", "a\vb", "a\nb", "a\rb", "a\udce9b"], ids=range(6))
def test_classes_that_no_run_can_hold_are_refused_before_anything(tmp_path: Path, name: str) -> None:
    root = write_classes(tmp_path / "data", images=2)
    (root / "red").rename(root / name)
    with pytest.raises(DataError, match="which a run cannot store: rename its folder") as found:
        load_source(root)
    assert str(found.value).isprintable()
    sound = load_source(write_classes(tmp_path / "sound", images=2))
    with pytest.raises(DataError, match="which a run cannot store: rename its folder"):
        train(CONFIG, replace(sound, class_names=("green", name)), tmp_path / "run", console=quiet_console())
    assert not (tmp_path / "run").exists()
