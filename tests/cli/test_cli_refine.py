"""`cdtr refine`: a second stage from a run's own maps, used as any other run, and one clear line where it cannot be."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import in_fixture, in_process, tiny_settings
from PIL import Image

from cdtr.runs import TARGETS, RunFolder

SECOND = ("--set", "train.epochs=2", "--set", "refine.width=4", "--set", "refine.side=32")


def draw(root: Path, seed: int = 0) -> Path:
    """16 images of two classes with a bright square each, and the squares in a CSV file beside them."""
    noise = np.random.default_rng(seed)
    root.mkdir(parents=True)
    with (root / "boxes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "x0", "y0", "x1", "y1"])
        for number in range(16):
            name, (left, top) = f"{('cat', 'dog')[number % 2]}/{number}.png", noise.integers(0, 40, 2).tolist()
            pixels = noise.integers(0, 90, (64, 80), dtype=np.uint8)
            pixels[top : top + 24, left : left + 24] += 120
            (root / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "photos" / name)
            rows.writerow([name, left, top, left + 24, top + 24])
    return root / "photos"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, boxes.csv and the first run."""
    root = tmp_path_factory.mktemp("refine") / "data"
    photos = draw(root)
    in_fixture("train", photos, "--out", root / "one", "--config", "small", *tiny_settings())
    return root


@pytest.fixture(scope="module")
def refined(first: Path) -> Path:
    in_fixture("refine", first / "one", "--data", first / "photos", "--out", first / "two", *SECOND)
    return first / "two"


def test_a_refined_run_says_what_it_is_and_keeps_its_targets(first: Path, refined: Path) -> None:
    run = RunFolder(refined)
    config, manifest = run.config(), run.manifest()
    assert config.method == "refined"
    assert config.refine.method == RunFolder(first / "one").config().method
    assert manifest["recipe"].endswith("+ a segmenter as second stage")
    fit = manifest["splits"]["fit"]["images"]
    targets = sorted((refined / TARGETS).rglob("*.png"))
    assert len(targets) == fit
    assert all(np.asarray(Image.open(path)).max() == 255 for path in targets), "each map is scaled"
    assert config.refine.threshold == json.loads((refined / TARGETS / "targets.json").read_text())["threshold"]
    assert 0.2 < config.refine.threshold < 0.9


def test_it_is_used_as_any_other_run(first: Path, refined: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ("--data", first / "photos")
    for words in (
        ("calibrate", refined, *data, "--label-free"),
        ("evaluate", refined, *data, "--split", "train", "--boxes", first / "boxes.csv", "--threshold", 0.4),
        ("localize", refined, first / "photos" / "cat", "--out", first / "boxes", "--format", "coco"),
        ("describe", refined),
    ):
        code, _, err = in_process(capsys, *words)
        assert code == 0, err
    assert json.loads((first / "boxes" / "coco.json").read_text())["annotations"]


def test_it_is_exported_whole(first: Path, refined: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    file = first / "both.onnx"
    code, _, err = in_process(capsys, "export", refined, "--onnx", file)
    assert code == 0, err
    assert file.stat().st_size > 10_000


def test_a_refined_run_is_refined_again(first: Path, refined: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = first / "three"
    code, _, err = in_process(capsys, "refine", refined, "--data", first / "photos", "--out", again, *SECOND)
    assert code == 0, err
    assert RunFolder(again).config().refine.method == RunFolder(first / "one").config().method


def test_reviewed_boxes_replace_maps_and_are_named(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (first / "boxes.csv").read_text().splitlines()
    (first / "few.csv").write_text("\n".join(lines[:7]) + "\n")
    out = first / "boxed"
    asked = ("refine", first / "one", "--data", first / "photos", "--out", out, "--boxes", first / "few.csv")
    code, _, err = in_process(capsys, *asked, *SECOND)
    assert code == 0, err
    run = RunFolder(out)
    taught = run.config().data.prior_maps_taught_with
    boxed = [
        path for path in (out / TARGETS).rglob("*.png") if set(np.unique(np.asarray(Image.open(path)))) >= {0, 255}
    ]
    count = int(taught.removeprefix("labels and ").removesuffix(" boxed images"))
    assert 1 <= count <= 6
    assert len(boxed) >= count
    assert taught in run.manifest()["recipe"]


def test_images_of_classes_without_an_object_teach_background(tmp_path: Path) -> None:
    photos = draw(tmp_path / "data")
    first = tmp_path / "one"
    in_fixture("train", photos, "--out", first, "--config", "small", "--empty", "dog", *tiny_settings())
    in_fixture("refine", first, "--data", photos, "--out", tmp_path / "two", *SECOND)
    highest = {path.parent.name: [] for path in (tmp_path / "two" / TARGETS).rglob("*.png")}
    for path in (tmp_path / "two" / TARGETS).rglob("*.png"):
        highest[path.parent.name].append(int(np.asarray(Image.open(path)).max()))
    assert set(highest["cat"]) == {255}
    assert set(highest["dog"]) == {0}
    assert RunFolder(tmp_path / "two").config().data.empty_classes == ("dog",)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--data", "other", "--out", "new"), "are not those of"),
        (("--data", "photos", "--out", "one"), "is the first run itself"),
        (("--data", "photos", "--out", "two"), "is not empty"),
        (("--data", "photos", "--out", "new", "--boxes", "none.csv"), "none.csv"),
        (("--data", "photos", "--out", "new", "--set", "refine.with=4"), "refine.with"),
    ],
    ids=["other-images", "itself", "not-empty", "no-boxes", "typo"],
)
def test_bad_input_is_one_line(
    first: Path, refined: Path, words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (first / "other").exists():
        shutil.copytree(first / "photos", first / "other")
        (first / "other" / "cat" / "0.png").rename(first / "other" / "cat" / "new.png")
        (first / "none.csv").write_text("image_id,x0,y0,x1,y1\n")
    known = {"other", "photos", "one", "two", "new", "none.csv"}
    code, _, err = in_process(
        capsys, "refine", first / "one", *(first / word if word in known else word for word in words)
    )
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert code == 2, err
    assert len(errors) == 1
    assert expected in errors[0]
    assert not (first / "new").exists()
