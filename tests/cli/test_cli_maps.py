"""`cdtr localize --maps`: anybody's maps become boxes in our formats, at a threshold given or chosen."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import in_process
from PIL import Image

from cdtr.formats import find_exporter
from cdtr.image_files.written import written_names
from cdtr.records import Localization

HEIGHT, WIDTH = 60, 80
# By image: where its map is bright, in pixels, half-open.
OBJECTS = {"cat/a.png": (8, 12, 40, 36), "cat/b.png": (40, 20, 72, 56), "dog/c.png": (0, 0, 24, 24)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in OBJECTS:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def hill(box: tuple[int, int, int, int]) -> np.ndarray:
    """A map of any range: a plateau of 7 at the object, 5 around it within 4 pixels, 3 elsewhere."""
    x0, y0, x1, y1 = box
    found = np.full((HEIGHT, WIDTH), 3.0)
    found[max(y0 - 4, 0) : y1 + 4, max(x0 - 4, 0) : x1 + 4] = 5
    found[y0:y1, x0:x1] = 7
    return found


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    for name, box in OBJECTS.items():
        path = (tmp_path / "maps" / name).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, hill(box))
    return tmp_path / "maps"


def boxes_of(out: Path) -> dict[str, list[tuple[str, float, tuple[float, ...]]]]:
    found: dict[str, list[tuple[str, float, tuple[float, ...]]]] = {}
    with (out / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            corners = tuple(float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
            found.setdefault(row["image"], []).append((row["label"], float(row["score"]), corners))
    return found


def test_maps_become_boxes_in_every_format_asked_for(
    photos: Path, maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = "--format", "csv,coco,yolo,voc,masks", "--heatmaps", "--overlays", "--threshold", "0.6"
    code, printed, err = in_process(capsys, "localize", "--maps", maps, photos, "--out", out, *asked)
    assert code == 0, err
    assert "3 boxes in 3 images at threshold 0.6" in printed
    # The class is the folder's, and sure; 0.6 of the scaled map leaves the plateau alone.
    assert boxes_of(out) == {name: [(name.split("/")[0], 1.0, box)] for name, box in OBJECTS.items()}
    names = {path.name for path in out.iterdir()}
    assert names == {".cdtr-written.json", "boxes.csv", "coco.json", "yolo", "voc", "masks", "heatmaps", "overlays"}
    assert len(list((out / "overlays").rglob("*.jpg"))) == 3
    (mask,) = (out / "masks" / "SegmentationClass").rglob("c.png")
    assert int((np.asarray(Image.open(mask)) == 2).sum()) == 24 * 24


def test_a_smaller_map_is_stretched_to_its_image(
    photos: Path, maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = np.zeros((6, 8))
    small[:3, :4] = 1
    np.save(maps / "cat" / "a.npy", small)
    asked = "--format", "csv", "--threshold", "0.5"
    code, _, err = in_process(capsys, "localize", "--maps", maps, photos, "--out", tmp_path / "out", *asked)
    assert code == 0, err
    ((_, _, box),) = boxes_of(tmp_path / "out")["cat/a.png"]
    assert box == pytest.approx((0, 0, 40, 30), abs=1)


def test_class_scores_choose_the_map_and_score_the_box(
    photos: Path, maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("image_id,dog,cat\ncat/a.png,2,0\ncat/b.png,0,2\ndog/c.png,0,0.5\n")
    for name, box in OBJECTS.items():
        np.save((maps / name).with_suffix(".npy"), np.stack([hill(box), hill((60, 40, 80, 60))]))
    asked = "--format", "csv", "--threshold", "0.6", "--class-scores", scores
    code, _, err = in_process(capsys, "localize", "--maps", maps, photos, "--out", tmp_path / "out", *asked)
    assert code == 0, err
    found = boxes_of(tmp_path / "out")
    assert [one[0][0] for one in found.values()] == ["dog", "cat", "cat"]
    assert found["cat/a.png"][0][2] == OBJECTS["cat/a.png"]
    assert found["cat/b.png"][0][2] == (60, 40, 80, 60)
    assert found["cat/a.png"][0][1] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-5)


@pytest.mark.parametrize("grown", [0, 4], ids=["the plateau", "what is around it too"])
def test_the_threshold_is_chosen_by_boxes_of_some_images(
    grown: int, photos: Path, maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for name, (x0, y0, _, _) in OBJECTS.items():
        small = x0 + 5, y0 + 5, x0 + 15, y0 + 15  # so small that 4 pixels around it are most of the box
        np.save((maps / name).with_suffix(".npy"), hill(small))
        box = np.array([small], dtype=float) + np.array([-grown, -grown, grown, grown])
        answers.append(
            Localization(
                image_id=name,
                size_hw=(HEIGHT, WIDTH),
                boxes_xyxy=box,
                labels=np.array([int(name.startswith("dog"))]),
                scores=np.ones(1),
                map=np.zeros((0, 0)),
                map_label=0,
                class_probs=np.zeros(0),
            )
        )
    truth = tmp_path / "some.json"
    find_exporter("coco").write(answers[:2], truth, ("cat", "dog"))
    asked = "--format", "csv", "--boxes", truth, "--json", "-"
    code, printed, err = in_process(capsys, "localize", "--maps", maps, photos, "--out", tmp_path / "out", *asked)
    assert code == 0, err
    assert "GT-known Loc 100.0%, on 2 images" in err
    assert "read: 2 boxes (coco, " in err
    assert (json.loads(printed)["threshold"] < 0.5) is bool(grown)
    found = boxes_of(tmp_path / "out")
    assert [found[one.image_id][0][2] for one in answers] == [tuple(one.boxes_xyxy[0]) for one in answers]


def test_without_a_word_the_maps_choose_the_threshold(
    photos: Path, maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, err = in_process(
        capsys, "localize", "--maps", maps, photos, "--out", tmp_path / "out", "--json", "-"
    )
    assert code == 0, err
    assert "label-free" in err
    assert 0.3 < json.loads(printed)["threshold"] < 0.9


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        ("nan", ["--threshold", "0.5"], "a.npy holds NaN or infinity"),
        ("nan", [], "a.npy holds NaN or infinity"),
        ("missing", ["--threshold", "0.5"], "lacks the maps of 1 of 3 images, such as cat/a.png"),
        ("classes", ["--threshold", "0.5"], "a.npy has 5 maps, the data has 2 classes"),
        ("text", ["--threshold", "0.5"], "a.npy is no array file"),
        ("", ["--threshold", "0.5", "--top-k", "2"], "leave --top-k out"),
        ("", ["--threshold", "0.5", "--boxes", "b.json"], "give one of them"),
        ("", ["--threshold", "1.5"], "expected a number from 0"),
        ("", ["--threshold", "0.5", "--min-score", "0.5"], "have no scores of boxes"),
        ("", ["--threshold", "0.5", "--format", "review"], "have no scores of boxes"),
        ("", ["--threshold", "0.5", "--device", "cpu"], "--view and --device are of a network"),
        ("", ["--class-scores", "none.csv"], "none.csv"),
    ],
)
def test_what_cannot_be_is_one_line(
    change: str,
    more: list[str],
    message: str,
    photos: Path,
    maps: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = maps / "cat" / "a.npy"
    bad = np.full((4, 4), 0.5)
    bad[1, 1] = np.nan
    if change == "nan":
        np.save(path, bad)
    elif change == "missing":
        path.unlink()
    elif change == "classes":
        np.save(path, np.zeros((5, 4, 4)))
    elif change == "text":
        path.write_text("no map")
    code, _, err = in_process(capsys, "localize", "--maps", maps, photos, "--out", tmp_path / "out", *more)
    assert code == 2, err
    assert err.count("error: ") == 1
    assert message in err
    assert not (tmp_path / "out" / "coco.json").exists()


def test_options_of_maps_need_maps(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = in_process(capsys, "localize", "run", photos, "--out", tmp_path / "out", "--boxes", "b.json")
    assert code == 2, err
    assert "give --maps" in err
    code, _, err = in_process(capsys, "localize", "run", "--out", tmp_path / "out")
    assert code == 2, err
    assert "no images" in err
    code, _, err = in_process(capsys, "localize", "--maps", tmp_path / "none", photos, "--out", tmp_path / "out")
    assert code == 2, err
    assert "expected maps as .npy or .png files" in err


def test_results_are_noted_as_such_before_they_are_there(
    photos: Path, maps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed command leaves pictures; below the data they would be a class."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cdtr.workflows.box_files.write_image", kill)
    out = tmp_path / "out"
    asked = "--threshold", "0.5", "--out", out, "--overlays"
    assert in_process(capsys, "localize", "--maps", maps, photos, *asked)[0] == 130
    assert written_names(out) == {"coco.json", "overlays"}
