"""`cdtr budget`: what a few boxes bring, from a run to a table, and one clear line where it cannot be measured."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import in_fixture, in_process, tiny_settings
from PIL import Image

import cdtr
from cdtr.model.packaged import PACKAGES
from cdtr.runs import RunFolder
from cdtr.training import box_detector
from cdtr.workflows.budget import CSV_FILE, JSON_FILE, PAGE_FILE

SECOND = ("--set", "train.epochs=1", "--set", "refine.width=4", "--set", "refine.side=32")
with_weights = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGES["tf_efficientnet_lite2"]) is None, reason="the packaged weights are not installed"
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes with a bright square each, 16 for a run and 104 in a split val, their boxes and the run."""
    root, noise = tmp_path_factory.mktemp("budget"), np.random.default_rng(0)
    with (root / "boxes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "x0", "y0", "x1", "y1"])
        for number in range(120):
            split, (left, top) = "train" if number < 16 else "val", noise.integers(0, 40, 2).tolist()
            name = f"{split}/{('cat', 'dog')[number % 2]}/{number}.png"
            pixels = noise.integers(0, 90, (64, 80), dtype=np.uint8)
            pixels[top : top + 24, left : left + 24] += 120
            (root / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "photos" / name)
            rows.writerow([name, left, top, left + 24, top + 24])
    in_fixture("train", root / "photos", "--out", root / "run", "--config", "small", *tiny_settings())
    return root


def asked(drawn: Path, out: str = "out", boxes: str = "boxes.csv") -> tuple[object, ...]:
    data = ("--data", drawn / "photos", "--boxes", drawn / boxes)
    return ("budget", drawn / "run", *data, "--out", drawn / out, "--draws", 3)


def test_thresholds_are_measured_by_the_number_of_boxes(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in (drawn / "run").rglob("*") if path.is_file()}
    code, out, err = in_process(capsys, *asked(drawn), "--json", drawn / "copy.json")
    assert code == 0, err
    found = json.loads((drawn / "out" / JSON_FILE).read_text())
    assert json.loads((drawn / "copy.json").read_text()) == found
    random = [one for one in found["points"] if one["order"] == "random"]
    assert [one["images"] for one in random] == [0, 10, 20, 50]
    assert [one["draws"] for one in random] == [1, 3, 3, 3]
    assert found["measured_fitted"] == 0
    boxed_and_not_fitted = 120 - RunFolder(drawn / "run").manifest()["splits"]["fit"]["images"]
    assert found["drawn_from"] + found["measured_on"] == boxed_and_not_fitted
    assert all(one["gt_known_loc"] <= one["max_box_acc"] + 1e-9 for one in random), "no draw sees the measured images"
    assert "100, 200 are left out" in err
    assert found["advice"] in out.replace("\n", " ")
    assert len((drawn / "out" / CSV_FILE).read_text().splitlines()) == 1 + len(found["points"])
    assert "<svg" not in (drawn / "out" / PAGE_FILE).read_text()
    assert {path: path.read_bytes() for path in before} == before, "the run stays as it is"
    again = cdtr.budget(drawn / "run", drawn / "photos", drawn / "again", boxes=str(drawn / "boxes.csv"), draws=3)
    assert again.to_json()["points"] == found["points"]
    assert found["advice"] in repr(again)
    assert "GT-known Loc" in again._repr_html_()


@with_weights
def test_second_stages_and_detectors_learn_from_the_boxes(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(box_detector, "_STEPS", 40)
    words = ("--refine", "--detector", "--sizes", "0,4,20", "--trainings", 2, *SECOND)
    code, out, err = in_process(capsys, *asked(drawn, "trained"), *words)
    assert code == 0, err
    points = json.loads((drawn / "trained" / JSON_FILE).read_text())["points"]
    by_way = {way: [one for one in points if one["way"] == way] for way in ("refine", "detector")}
    assert [one["images"] for one in by_way["refine"]] == [0, 4]
    assert [one["draws"] for one in by_way["refine"]] == [1, 2]
    assert "second stages with more are left out" in err
    assert [one["images"] for one in by_way["detector"]] == [4, 20]
    assert by_way["detector"][1]["gt_known_loc"] > 60
    assert by_way["detector"][1]["max_box_acc"] is None
    assert "detector alone: " in out
    assert not list(drawn.glob(".budget-*")), "trainings are removed"


@with_weights
def test_the_choice_of_the_prior_is_measured_on_a_frozen_cnn(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CDTR_CACHE", str(tmp_path / "cache"))
    small = ("data.input_size=[64,64]", "data.resize=[64,64]", "train.epochs=1", "data.workers=0", "data.holdout=0.25")
    settings = [word for setting in small for word in ("--set", setting)]
    in_fixture("train", drawn / "photos", "--out", tmp_path / "run", "--config", "imagenet", *settings)
    words = ("--data", drawn / "photos", "--boxes", drawn / "boxes.csv", "--out", tmp_path / "out", "--draws", 2)
    code, _, err = in_process(capsys, "budget", tmp_path / "run", *words, "--sizes", "10,50", "--priors")
    assert code == 0, err
    points = [one for one in json.loads((tmp_path / "out" / JSON_FILE).read_text())["points"] if one["way"] == "prior"]
    assert [one["images"] for one in points] == [0, 10, 50]
    assert points[0]["chosen"] is None
    assert sum(points[2]["chosen"].values()) == 2
    assert points[2]["gt_known_loc"] >= points[0]["gt_known_loc"], "squares of another brightness: contrast finds them"


def test_boxes_of_fitted_images_measure_with_a_warning(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (drawn / "boxes.csv").read_text().splitlines()
    (drawn / "some.csv").write_text("\n".join(lines[:47]) + "\n")
    code, _, err = in_process(capsys, *asked(drawn, "mixed", "some.csv"), "--sizes", "10")
    assert code == 0, err
    assert "warning: " in err
    assert "are among those that the run was fitted to" in err


@pytest.mark.parametrize(
    ("words", "boxes", "expected"),
    [
        ((), "few.csv", "12 images have boxes in"),
        ((), "others.csv", "others.csv"),
        ((), "none.csv", "none.csv"),
        (("--out", "run"), "boxes.csv", "is no empty folder: choose another --out"),
        (("--sizes", "20,10"), "boxes.csv", "--sizes 20,10: expected increasing numbers"),
        (("--sizes", "10,4000"), "boxes.csv", "take no more"),
        (("--sizes", "ten"), "boxes.csv", "expected whole numbers"),
        (("--set", "train.epochs=2"), "boxes.csv", "give --refine too"),
        (("--refine", "--set", "refine.with=2"), "boxes.csv", "refine.with"),
        (("--refine", "--sizes", "30"), "boxes.csv", "leave --refine out"),
        (("--priors",), "boxes.csv", "frozen CNN"),
        (("--split", "nowhere"), "boxes.csv", "no split 'nowhere'"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_line(
    drawn: Path, words: tuple[str, ...], boxes: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (drawn / "boxes.csv").read_text().splitlines()
    (drawn / "few.csv").write_text("\n".join([lines[0], *lines[-12:]]) + "\n")
    (drawn / "others.csv").write_text(
        "\n".join([lines[0], *(f"other{number}.png,1,1,9,9" for number in range(60))]) + "\n"
    )
    (drawn / "none.csv").write_text(lines[0] + "\n")
    given = [drawn / word if word == "run" else word for word in words]
    code, _, err = in_process(capsys, *asked(drawn, "new", boxes), *given)
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert code == 2, err
    assert len(errors) == 1
    assert expected in errors[0]
    assert not (drawn / "new").exists()


def test_data_without_boxes_asks_for_some(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("budget", drawn / "run", "--data", drawn / "photos", "--out", drawn / "new")
    code, _, err = in_process(capsys, *words)
    assert code == 2
    assert "has no boxes: name a file or folder of boxes of its images with --boxes" in err
