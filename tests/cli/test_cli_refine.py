"""`cdtr refine`: a second stage from a run's own maps, used as any other run, and one clear line where it cannot be."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import in_fixture, in_process, tiny_settings
from PIL import Image
from safetensors.torch import load_file

from cdtr.data.prior_maps import PriorMaps
from cdtr.records import Sample
from cdtr.runs import TARGETS, RunFolder, hash_file
from cdtr.workflows.opening import fitted_samples, open_source
from cdtr.workflows.refine import refine_with
from cdtr.workflows.refine_targets import write_targets

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
        ("evaluate", refined, *data),  # on the images of the calibration: without boxes no threshold takes part
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


@pytest.fixture(scope="module")
def boxed(first: Path) -> Path:
    in_fixture("refine", first / "one", "--data", first / "photos", "--out", first / "box", "--target", "box", *SECOND)
    return first / "box"


def test_a_box_regressor_learns_boxes_and_gives_one_an_image(
    first: Path, boxed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(boxed)
    assert run.config().refine.target == "box"
    assert run.manifest()["recipe"].endswith("+ a box regressor as second stage")
    for path in (boxed / TARGETS).rglob("*.png"):
        rows, columns = np.nonzero(np.asarray(Image.open(path)) > 127)
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert len(rows) >= area - 1, "a rectangle, but for the corner that a box of the whole image leaves out"
    data = ("--data", first / "photos")
    for words in (
        ("calibrate", boxed, *data, "--label-free"),
        ("evaluate", boxed, *data, "--split", "train", "--boxes", first / "boxes.csv", "--threshold", 0.5),
        ("localize", boxed, first / "photos" / "cat", "--out", tmp_path, "--format", "coco"),
    ):
        code, _, err = in_process(capsys, *words)
        assert code == 0, err
    tree = json.loads((tmp_path / "coco.json").read_text())
    assert [one["image_id"] for one in tree["annotations"]] == [one["id"] for one in tree["images"]]


def test_a_box_regressor_is_exported_whole(
    first: Path, boxed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    code, _, err = in_process(capsys, "export", boxed, "--onnx", tmp_path / "both.onnx")
    assert code == 0, err
    image = next((first / "photos" / "cat").iterdir())
    boxes = []
    for number, run in enumerate((boxed, tmp_path / "both.onnx")):
        out = tmp_path / str(number)
        code, _, err = in_process(capsys, "localize", run, image, "--out", out, "--threshold", 0.5)
        assert code == 0, err
        boxes.append(json.loads((out / "coco.json").read_text())["annotations"][0]["bbox"])
    assert np.abs(np.subtract(*boxes)).max() <= 1


def test_a_true_box_is_the_target_of_its_image(
    first: Path, refined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = fitted(refined, 1)
    rows = ["image_id,x0,y0,x1,y1", f"{name},0,0,10,8", f"{name},20,16,60,48"]
    (tmp_path / "two.csv").write_text("\n".join(rows))
    asked = ("refine", first / "one", "--data", first / "photos", "--out", tmp_path / "out", "--target", "box")
    code, _, err = in_process(capsys, *asked, "--boxes", tmp_path / "two.csv", *SECOND)
    assert code == 0, err
    target = np.asarray(Image.open(tmp_path / "out" / TARGETS / f"{name}.png"))
    height, width = target.shape
    expected = np.zeros_like(target)
    expected[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = 255
    assert (target == expected).all(), "the largest of the boxes"


def test_with_a_frozen_cnn_the_regressor_learns_from_its_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDTR_CACHE", str(tmp_path / "cache"))
    photos = draw(tmp_path / "data")
    cnn = "backbone.cnn={name: test_efficientnet, weights: none, reductions: [8, 16]}"
    stem = ("--set", "backbone.stem=cnn", "--set", cnn)
    in_fixture("train", photos, "--out", tmp_path / "one", "--config", "small", *tiny_settings(), *stem)
    asked = ("refine", tmp_path / "one", "--data", photos, "--out", tmp_path / "two", "--target", "box", *SECOND)
    code, _, err = in_process(capsys, *asked)
    assert code == 0, err
    assert RunFolder(tmp_path / "two").config().data.augment == "flip"
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(
        torch.equal(second[f"first.{name}"], value) for name, value in first.items() if f"first.{name}" in second
    )
    assert any(name.startswith("regressor.join.") for name in second)
    assert (tmp_path / "cache").is_dir()


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


def test_boxes_put_into_maps_afterwards_are_as_those_put_in_at_once(first: Path, tmp_path: Path) -> None:
    run = RunFolder(first / "one")
    source = open_source(run, first / "photos", str(first / "boxes.csv"))
    fit = fitted_samples(run, source)
    boxed = {sample.image_id: source.annotate(sample) for sample in fit[2:5]}
    write_targets(run, fit, {}, tmp_path / "maps")
    write_targets(run, fit, boxed, tmp_path / "expected")
    refined = refine_with(run, source, fit, boxed, tmp_path / "maps", tmp_path / "two", SECOND[1::2])
    written = {path.relative_to(tmp_path / "expected"): path for path in (tmp_path / "expected").rglob("*.*")}
    assert len(written) == len(fit) + 1
    for name, path in written.items():
        assert (refined.path / TARGETS / name).read_bytes() == path.read_bytes()
    assert refined.config().data.prior_maps_taught_with == "labels and 3 boxed images"
    assert len(set((tmp_path / "maps").rglob("*.png"))) == len(fit), "the maps stay as they are"


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
        (("--data", "photos", "--out", "new", "--set", "method=cdtr"), "keeps 'refined'"),
        (("--data", "photos", "--out", "new", "--set", "data.input_size=[32,32]"), "keeps (64, 64)"),
        (("--data", "photos", "--out", "new", "--set", "seed=5"), "keeps 0"),
        (("--data", "photos", "--out", "new", "--set", "data.augment=official"), "use crop_flip"),
        (("--data", "photos", "--out", "new", "--target", "boxes"), "refine.target"),
        (("--data", "photos", "--out", "new", "--target", "box", "--set", "refine.share=1"), "is a setting of masks"),
    ],
    ids=[
        *("other-images", "itself", "not-empty", "no-boxes", "typo", "method", "size", "split", "augment"),
        *("target", "share-of-a-box"),
    ],
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


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "boxed is None"),
        ('{"threshold": "x", "boxed": 0}', "threshold: ['x']"),
        ('{"threshold": NaN, "boxed": 0}', "finite"),
        ('{"threshold": 0.5, "boxed": 1e400}', "boxed is inf"),
        ('{"threshold": 0.5, "boxed": 0, "first": "other"}', "maps of another run than"),
        ('{"threshold": 0.5, "boxed": 3, "first": "FIRST"}', "3 maps from boxes, now 2 images"),
        ('{"threshold": 0.5, "boxed": 2, "boxes_sha256": "0", "first": "FIRST"}', "from other boxes of 2 images"),
        ('{"threshold": 0.5, "boxed": 2, "first": "FIRST", "target": "box"}', "another kind than refine.target mask"),
    ],
    ids=["list", "text", "nan", "infinite", "another-run", "other-boxes", "as-many-other-boxes", "other-target"],
)
def test_targets_of_something_else_are_one_line(
    first: Path, refined: Path, content: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["image_id,x0,y0,x1,y1", *(f"{name},1,1,9,9" for name in fitted(refined))]
    (tmp_path / "two.csv").write_text("\n".join(rows))
    shutil.copytree(refined / TARGETS, tmp_path / "out" / TARGETS)
    weights = hash_file(RunFolder(first / "one").weights)
    (tmp_path / "out" / TARGETS / "targets.json").write_text(content.replace("FIRST", weights))
    asked = ("refine", first / "one", "--data", first / "photos", "--out", tmp_path / "out", "--resume", *SECOND)
    kind = ["--target", "mask"] if "box" in content else []  # else it goes on with the kind that is noted
    code, _, err = in_process(capsys, *asked, *kind, *(["--boxes", tmp_path / "two.csv"] if "FIRST" in content else []))
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert code == 2, err
    assert len(errors) == 1
    assert expected in errors[0]


def fitted(refined: Path, count: int = 2) -> list[str]:
    """Ids of images that the runs were fitted to."""
    targets = sorted((refined / TARGETS).rglob("*.png"))[:count]
    return [path.relative_to(refined / TARGETS).as_posix().removesuffix(".png") for path in targets]


def test_a_moved_first_run_is_no_other_run(
    first: Path, refined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(first / "one", tmp_path / "moved")
    asked = ("refine", tmp_path / "moved", "--data", first / "photos", "--out", refined, "--resume", *SECOND)
    code, _, err = in_process(capsys, *asked)
    assert code == 0, err
    assert "is trained already" in err


def test_a_box_of_the_whole_image_teaches_the_object(
    first: Path, refined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = fitted(refined, 1)
    (tmp_path / "whole.csv").write_text(f"image_id,x0,y0,x1,y1\n{name},0,0,80,64\n")
    asked = ("refine", first / "one", "--data", first / "photos", "--out", tmp_path / "out")
    code, _, err = in_process(capsys, *asked, "--boxes", tmp_path / "whole.csv", *SECOND)
    assert code == 0, err
    sample = Sample(name, first / "photos" / name, 0)
    target = PriorMaps(tmp_path / "out" / TARGETS, [sample], 10_000).read(sample)
    assert np.asarray(target).mean() > 0.9


def test_an_image_with_broken_pixels_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = draw(tmp_path / "data")
    whole = (photos / "cat" / "0.png").read_bytes()
    (photos / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    settings = [*tiny_settings(), "--set", "data.holdout=0"]
    in_fixture("train", photos, "--out", tmp_path / "one", "--config", "small", *settings)
    asked = ("refine", tmp_path / "one", "--data", photos, "--out", tmp_path / "two", *SECOND)
    code, _, err = in_process(capsys, *asked)
    assert code == 0, err
    assert list(RunFolder(tmp_path / "two").manifest()["broken_images"]) == ["cat/0.png"]
