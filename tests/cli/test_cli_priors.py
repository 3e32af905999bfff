"""`cdtr priors`: a sheet of every prior, how far they agree, and with boxes which of them finds the objects."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_helpers import in_process
from PIL import Image

from cdtr.config import load_config
from cdtr.model.packaged import PACKAGES
from cdtr.records import Annotation, Sample
from cdtr.reports.image_grid import image_grid
from cdtr.reports.priors_sheet import PriorScore, priors_sheet
from cdtr.training.priors import COMPARED
from cdtr.workflows.priors import PriorComparison

SMALL = ("--set", "data.input_size=[64,64]", "--set", "data.resize=[64,64]", "--images", 6)
with_weights = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGES["tf_efficientnet_lite2"]) is None, reason="the packaged weights are not installed"
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """12 images of two classes with a bright square each, and the squares as boxes in a CSV file."""
    monkeypatch.setenv("CDTR_CACHE", str(tmp_path / "cache"))
    noise = np.random.default_rng(0)
    with (tmp_path / "boxes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image_id", "x0", "y0", "x1", "y1"])
        for number in range(12):
            name, (left, top) = f"{('cat', 'dog')[number % 2]}/{number}.png", noise.integers(12, 28, 2).tolist()
            pixels = noise.integers(0, 60, (64, 64), dtype=np.uint8)
            pixels[top : top + 24, left : left + 24] += 180
            (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / name)
            rows.writerow([name, left, top, left + 24, top + 24])
    return tmp_path / "photos"


@with_weights
def test_priors_are_drawn_and_compared_without_a_box(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, results = photos.parent / "sheet.png", photos.parent / "priors.json"
    code, out, err = in_process(capsys, "priors", photos, "--out", sheet, "--json", results, *SMALL)
    assert code == 0, err
    found = json.loads(results.read_text())
    assert set(found["priors"]) == set(COMPARED)
    assert found["boxed_images"] == 0
    assert all(one["max_box_acc"] is None for one in found["priors"].values())
    agreements = [one["agreement"] for one in found["priors"].values()]
    assert agreements == sorted(agreements, reverse=True)
    chosen = "" if found["chosen"] == "by_class" else f" --set ocm.prior={found['chosen']}"
    assert out.rstrip().endswith(f"--out runs/mine{chosen}")
    assert "a few boxes (--boxes) measure priors" in out
    assert np.asarray(Image.open(sheet)).std() > 20


@with_weights
def test_a_prior_that_boxes_chose_is_proposed_as_a_file_and_a_broken_image_is_told_once(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = sorted(photos.rglob("*.png"))[0]
    broken.write_bytes(broken.read_bytes()[:-200])  # its header is whole
    monkeypatch.setattr("cdtr.workflows.priors.PriorComparison.chosen", "rarity")
    asked = ("priors", photos, "--out", tmp_path / "sheet.png", *SMALL)
    code, out, err = in_process(capsys, *asked)
    assert code == 0, err
    assert err.count(f"left out {broken.relative_to(photos).as_posix()}") == 1
    assert out.rstrip().endswith("--set ocm.prior=rarity")
    code, out, err = in_process(capsys, *asked, "--boxes", photos.parent / "boxes.csv")
    assert code == 0, err
    first, then = out.rstrip().splitlines()[-2:]
    assert first.endswith(f"--write-config {tmp_path / 'sheet.yaml'}")
    assert then.endswith(f"--config {tmp_path / 'sheet.yaml'}")
    assert "ocm.prior" not in then


def test_the_sheet_says_what_its_colours_rows_and_boxes_mean(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []

    def draw(title: str, blocks: Any, legend: Any) -> Any:
        seen.append((blocks, legend))
        return image_grid(title, blocks, legend)

    monkeypatch.setattr("cdtr.reports.priors_sheet.image_grid", draw)
    path = next(photos.rglob("*.png"))
    maps = {"shared": np.zeros((1, 4, 4), dtype=np.float32)}
    for boxes in (None, Annotation(np.array([[2.0, 2.0, 9.0, 9.0]]))):
        priors_sheet("priors", [Sample("a", path, 0)], ("red",), maps, [boxes], 10**6)
    (blocks, without), (_, with_boxes) = seen
    assert "a row is a prior" in blocks[-1].text
    assert [words for words, _ in without] == [
        "where the prior expects no object",
        "undecided",
        "where it expects the object",
    ]
    assert with_boxes[-1] == ("true box, dashed", (235, 50, 50))


@with_weights
def test_priors_are_measured_with_boxes_and_the_best_is_written(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, chosen, results = (photos.parent / name for name in ("sheet.jpg", "chosen.yaml", "priors.json"))
    asked = ("priors", photos, "--out", sheet, "--boxes", photos.parent / "boxes.csv", "--write-config", chosen)
    code, out, err = in_process(capsys, *asked, "--json", results, *SMALL)
    assert code == 0, err
    found = json.loads(results.read_text())
    assert found["boxed_images"] == 12
    assert found["priors"]["contrast"]["max_box_acc"] == 100.0, "the squares differ from the background by colour"
    settings = load_config(str(chosen))
    assert settings.ocm.prior == found["chosen"]
    assert settings.recipe == "imagenet with a prior by 12 boxed images"
    assert settings.data.input_size == (64, 64), "as the priors were computed with"
    assert settings.data.boxes == "auto"
    assert f"--config {chosen}" in out


def test_bad_input_of_priors_is_one_line(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos.parent / "none.csv").write_text("image_id,x0,y0,x1,y1\n")
    cases = [
        (("--out", photos.parent / "sheet.txt"), "ends in"),
        (("--out", photos.parent), "is a folder"),
        (("--out", photos.parent / "sheet.png", "--config", "small"), "frozen CNN"),
        (("--out", photos.parent / "sheet.png", "--boxes", photos.parent / "none.csv"), "none.csv"),
    ]
    for words, expected in cases:
        code, _, err = in_process(capsys, "priors", photos, *words)
        lines = [line for line in err.splitlines() if line.startswith("error:")]
        assert code == 2, words
        assert len(lines) == 1, err
        assert expected in lines[0]
        assert not (photos.parent / "sheet.png").exists()


def test_the_reason_says_what_boxes_do_not_tell_apart() -> None:
    scores = {
        "by_class": PriorScore(0.5, 80.0, (60.0, 95.0)),
        "border": PriorScore(0.4, 70.0, (50.0, 88.0)),
        "contrast": PriorScore(0.1, 20.0, (5.0, 40.0)),
    }
    found = PriorComparison(None, load_config("imagenet"), scores, (), {}, (), 20, 600)  # type: ignore[arg-type]
    assert found.chosen == "by_class"
    expected = (
        "by_class: the recipe's own prior, which finds clearly more objects than contrast; 20 boxed images do not tell "
        "it from border"
    )
    assert found.reason == expected


@pytest.mark.parametrize(
    ("other", "boxed", "chosen"),
    [
        (PriorScore(0.59, 70.0, (60.0, 80.0)), 0, "by_class"),
        (PriorScore(0.65, 70.0, (60.0, 80.0)), 0, "border"),
        (PriorScore(0.1, 70.0, (60.0, 80.0)), 20, "by_class"),
        (PriorScore(0.1, 90.0, (85.0, 95.0)), 20, "border"),
    ],
    ids=["agrees-as-well", "agrees-more", "finds-as-many", "finds-more"],
)
def test_the_recipes_own_prior_stays_unless_another_is_clearly_better(
    other: PriorScore, boxed: int, chosen: str
) -> None:
    scores = {"border": other, "by_class": PriorScore(0.5, 65.0, (50.0, 78.0))}
    found = PriorComparison(None, load_config("imagenet"), scores, (), {}, (), boxed, 600)  # type: ignore[arg-type]
    assert found.chosen == chosen
    assert found.reason.startswith(f"{chosen}: {'the' if chosen == 'by_class' else 'not the'} recipe's own prior")
