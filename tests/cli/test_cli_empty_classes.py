"""Good parts get no box: from train over calibrate, evaluate and localize to an exported file."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from cli_helpers import in_fixture, in_process
from PIL import Image

import cdtr
from cdtr.data.opening import open_data
from cdtr.deployment.facts import METADATA_KEY
from cdtr.runs import RunFolder

SQUARE = {"crack": 110, "hole": -70, "good": 0}  # brightness of the object less that of its surroundings
COUNTS = {"train": 24, "val": 8}
SETTINGS = (
    *("method=tscam", "guide.attention=contrast", "data.workers=0", "data.holdout=0.25", "data.augment=flip"),
    *("data.input_size=[32, 32]", "data.resize=[32, 32]", "evaluation.view=whole"),
    "backbone.overrides={embed_dim: 48, depth: 2, num_heads: 2, patch_size: 8}",
    *("train.epochs=6", "train.batch_size=8", "train.lr=0.003"),
)


def draw(root: Path) -> Path:
    """ROOT/SPLIT/CLASS/N.png: noise with a square, or without one in ``good``; and ROOT/boxes.csv."""
    rows = ["image,x_min,y_min,x_max,y_max,label"]
    for offset, (split, count) in enumerate(COUNTS.items()):
        for label, (name, step) in enumerate(SQUARE.items()):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                random = np.random.default_rng([offset, label, number])
                pixels = random.normal(100, 12, (48, 48, 3))
                left, top = random.integers(4, 20, 2).tolist()
                pixels[top : top + 22, left : left + 22] += step
                path = root / split / name / f"{number}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
                # Whole images as boxes of good parts, as some sets have them: they must not count.
                box = (left, top, left + 22, top + 22) if step else (0, 0, 48, 48)
                rows.append(f"{split}/{name}/{number}.png,{','.join(map(str, box))},{name}")
    (root / "boxes.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("parts") / "parts")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "parts"
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    out, err = in_fixture("train", data, "--out", path, "--config", "small", "--empty", "good", *settings)
    assert "suggests images without an object" not in out + err
    _, said = in_fixture("calibrate", path, "--data", data)
    assert "an image gets a box from a probability of an object of" in said
    return path


@pytest.fixture(scope="module")
def outputs(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "boxes"
    in_fixture("localize", run, data / "val", "--out", out, "--format", "coco,voc,yolo,csv", "--overlays")
    return out


def test_calibration_keeps_the_boxes_of_images_with_an_object(run: Path) -> None:
    assert RunFolder(run).config().data.empty_classes == ("good",)
    stored = json.loads((run / "calibration.json").read_text())
    found = stored["has_object"]
    assert 0 < found["threshold"] < 1
    assert found["kept"] >= 95
    assert found["n_objects"] + found["n_empty"] == 18
    assert stored["n_images"] == found["n_objects"], "boxes of good parts do not count"


def test_evaluate_has_figures_of_images_with_and_without_an_object(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = in_process(capsys, "evaluate", run, "--data", data, "--json", tmp_path / "scores.json")
    assert code == 0, err
    for title in ("object AUROC", "false boxes", "missing boxes"):
        assert title in out
    assert "classes without an object: good; an image gets a box where the probability of an object is" in out
    tree = json.loads((tmp_path / "scores.json").read_text())
    assert tree["n_images"] == 24
    assert tree["n_annotated"] == 16
    metrics = tree["metrics"]
    assert metrics["object_auroc"] > 90
    assert metrics["false_boxes"] <= 50
    assert metrics["missing_boxes"] <= 25
    low, high = tree["intervals"]["object_auroc"]
    assert low <= metrics["object_auroc"] <= high
    assert tree["per_class"]["good"]["gt_known_loc"] is None


def test_an_image_without_an_object_is_in_every_format_without_a_box(outputs: Path) -> None:
    coco = json.loads((outputs / "coco.json").read_text())
    names = {one["id"]: one["file_name"] for one in coco["images"]}
    boxed = {names[one["image_id"]] for one in coco["annotations"]}
    assert len(names) == 24
    assert [one["name"] for one in coco["categories"]] == ["crack", "good", "hole"]
    assert all(one["category_id"] != 2 for one in coco["annotations"])
    empty = set(names.values()) - boxed
    good = {name for name in names.values() if name.startswith("good/")}
    assert len(empty & good) >= 4
    assert len(boxed - good) >= 12
    for name in names.values():
        stem = name.removesuffix(".png")
        objects = ElementTree.parse(outputs / "voc" / "Annotations" / f"{stem}.xml").findall("object")
        assert bool(objects) == (name in boxed)
        assert "good" not in {one.findtext("name") for one in objects}
    rows = list(csv.DictReader((outputs / "boxes.csv").open(encoding="utf-8")))
    assert {row["image"] for row in rows if row["x_min"]} == boxed
    assert {row["image"] for row in rows if not row["x_min"]} == empty
    listed = list(csv.DictReader((outputs / "yolo" / "names.csv").open(encoding="utf-8")))
    assert len(listed) == 24
    for row in listed:
        labels = (outputs / "yolo" / "labels" / row["file"].removeprefix("images/")).with_suffix(".txt").read_text()
        assert bool(labels) == (row["image"] in boxed)
        assert not labels.startswith("1 ")


def test_a_report_draws_no_box_on_them(run: Path, data: Path, tmp_path: Path) -> None:
    cdtr.report(run, data, out=tmp_path / "report.html", images=24)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "classes without an object: good" in html
    assert "false boxes" in html
    for name, count in (("good", 0), ("crack", 1)):
        shown = re.findall(rf"{name}/\d+\.png \(boxes found: (\d)", html)
        assert shown.count(str(count)) > len(shown) / 2


def test_an_exported_file_knows_them(run: Path, data: Path, tmp_path: Path) -> None:
    in_fixture("export", run, "--onnx", tmp_path / "parts.onnx")
    metadata = {one.key: one.value for one in onnx.load(tmp_path / "parts.onnx").metadata_props}
    facts = json.loads(metadata[METADATA_KEY])
    assert facts["empty_classes"] == ["good"]
    assert facts["object_threshold"] == json.loads((run / "calibration.json").read_text())["has_object"]["threshold"]
    assert facts["format"] == 3, "a reader that knows no such classes would give them boxes"
    theirs = cdtr.Localizer.from_pretrained(tmp_path / "parts.onnx")(data / "val")
    ours = cdtr.Localizer.from_pretrained(run)(data / "val")
    assert [one.empty for one in theirs] == [one.empty for one in ours]
    assert any(one.empty for one in ours)
    assert all(len(one.boxes_xyxy) == (not one.empty) for one in theirs)
    for one in ours:
        assert one.empty == (one.class_names[one.map_label] == "good")
        assert one.object_prob == pytest.approx(1 - one.class_probs[1], abs=1e-5)


def test_another_view_or_no_calibration_leaves_it_to_the_most_probable_class(run: Path, tmp_path: Path) -> None:
    localizer = cdtr.Localizer.from_pretrained(run)
    assert localizer.empty is not None
    assert localizer.empty.threshold is not None
    tiled = cdtr.Localizer.from_pretrained(run, threshold=0.4, view="mirrored")
    assert tiled.empty is not None
    assert tiled.empty.threshold is None


def test_without_boxes_the_threshold_is_that_of_images_with_an_object(run: Path, data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    before = json.loads((run / "calibration.json").read_text())["has_object"]
    done = cdtr.calibrate(copy, data, boxes="none", label_free=True)
    assert done.has_object is not None
    assert done.has_object.to_json() == before, "it needs no box"
    assert done.calibration.n_images == before["n_objects"]


def test_a_probability_is_not_scored_on_the_images_that_it_was_chosen_on(run: Path, data: Path) -> None:
    (found,) = cdtr.evaluate(run, data, split="held-out", threshold=0.4)
    assert any("was chosen on 18 of these images, so it is not used" in note for note in found.notes)
    assert any("where another class is the most probable" in note for note in found.notes)
    (found,) = cdtr.evaluate(run, data, split="held-out", allow_leak=True)
    assert any("which flatters the false and missing boxes" in note for note in found.notes)
    stored = json.loads((run / "calibration.json").read_text())["has_object"]
    assert found.metrics["missing_boxes"] == pytest.approx(100 - stored["kept"])
    assert found.metrics["false_boxes"] == pytest.approx(stored["false_boxes"])


def test_images_of_one_kind_alone_give_no_probability(run: Path, data: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    source = open_data(data, RunFolder(run).config().data)
    objects = tuple(one for one in source.splits["val"] if source.class_names[one.label] != "good")
    with pytest.warns(UserWarning, match="are not of both kinds, with an object and without"):
        done = cdtr.calibrate(copy, replace(source, splits={"val": objects}), split="val", label_free=True)
    assert done.has_object is None
    assert "has_object" not in json.loads((copy / "calibration.json").read_text())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--empty", "goood"), "data.empty_classes has 'goood', no class of"),
        (("--empty", "good", "--empty", "crack", "--empty", "hole"), "data.empty_classes names all 3 classes of"),
    ],
    ids=["unknown", "all"],
)
def test_bad_classes_get_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, _, err = in_process(capsys, "train", data, "--out", tmp_path / "run", *words)
    assert code == 2
    (line,) = [line for line in err.splitlines() if "data.empty_classes" in line]
    assert message in line
    assert not (tmp_path / "run").exists()


def test_data_check_notices_the_name(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = in_process(capsys, "data", "check", data, "--no-near")
    assert code == 0
    assert "note [no-object] the name good suggests images without an object" in " ".join(out.split())
    code, out, _ = in_process(capsys, "data", "check", data, "--no-near", "--set", "data.empty_classes=[good]")
    assert code == 0
    assert "no-object" not in out
    assert "boxes-missing" not in out, "images of good parts need no box"
