"""`cdtr calibrate` and `cdtr evaluate` on a user's own class folders with boxes in every format, and tar shards."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from box_files import USUAL
from cli_helpers import in_fixture, in_process, run_cdtr, sort_neu, tiny_settings

from cdtr.formats.voc import read_voc, voc_to_half_open
from cdtr.image_files.reading import read_size


@pytest.fixture(scope="module")
def sorted_neu(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NEU-DET's images in class folders."""
    return sort_neu(neu, tmp_path_factory.mktemp("sorted") / "steel")


@pytest.fixture(scope="module")
def run(sorted_neu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "steel"
    done = run_cdtr("train", sorted_neu, "--out", out, "--config", "small", *tiny_settings())
    assert done.returncode == 0, done.stderr
    assert "cdtr calibrate" not in done.stdout, "no box is beside these images"
    return out


def _write(format: str, neu: Path, images: Path, path: Path) -> Path:
    """NEU-DET's own boxes, of all classes but in the WSOL lists, which name none."""
    boxes, sizes = {}, {}
    for image in sorted(images.rglob("*.jpg")):
        objects = read_voc(neu / "ANNOTATIONS" / f"{image.stem}.xml")
        corners = [tuple(box) for box in voc_to_half_open(objects).tolist()]
        name = image.relative_to(images).as_posix()
        pairs = [(o.name, box) for o, box in zip(objects, corners, strict=True)]
        boxes[name] = [pair for pair in pairs if format != "wsol" or pair[0] == image.parent.name]
        height, width = read_size(image, 10**8)
        sizes[name] = width, height
    return USUAL[format][1](path, boxes, sizes)


def _scores(file: Path) -> dict[str, Any]:
    tree = json.loads(file.read_text())
    return {key: tree[key] for key in ("n_images", "n_annotated", "threshold", "metrics")}


@pytest.fixture(scope="module")
def expected(run: Path, neu: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What NEU-DET's own reader gives, on the same images in the same order."""
    file = tmp_path_factory.mktemp("scores") / "scores.json"
    done = run_cdtr("evaluate", run, "--data", neu, "--threshold", "0.3", "--json", file)
    assert done.returncode == 0, done.stderr
    return _scores(file)


@pytest.mark.parametrize("format", USUAL)
def test_every_format_gives_the_scores_of_the_original(
    format: str,
    run: Path,
    neu: Path,
    sorted_neu: Path,
    expected: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "steel"
    shutil.copytree(sorted_neu, root)
    _write(format, neu, root, root / USUAL[format][0])
    calibrated = tmp_path / "run"
    shutil.copytree(run, calibrated)
    code, out, err = in_process(capsys, "calibrate", calibrated, "--data", root)
    assert code == 0, err
    assert "held-out training images" in out
    file = tmp_path / "scores.json"
    code, _, err = in_process(capsys, "evaluate", calibrated, "--data", root, "--threshold", "0.3", "--json", file)
    assert code == 0, err
    assert _scores(file) == expected


def test_boxes_elsewhere_are_named(
    run: Path, neu: Path, sorted_neu: Path, expected: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = _write("coco", neu, sorted_neu, tmp_path / "mine.json")
    file = tmp_path / "scores.json"
    place = ("--data", sorted_neu, "--boxes", boxes)
    code, _, err = in_process(capsys, "evaluate", run, *place, "--threshold", "0.3", "--json", file)
    assert code == 0, err
    assert _scores(file) == expected
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    assert in_process(capsys, "calibrate", copy, *place)[0] == 0
    code, _, err = in_process(capsys, "evaluate", run, "--data", sorted_neu, "--boxes", tmp_path / "none.json")
    assert code == 2
    assert "no boxes at" in err


def test_boxes_found_can_be_read_again(
    run: Path, sorted_neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `cdtr localize --format csv` writes, as the boxes of another evaluation."""
    code, _, err = in_process(
        capsys, "localize", run, sorted_neu / "val", "--out", tmp_path, "--format", "csv", "--threshold", "0.3"
    )
    assert code == 0, err
    with (tmp_path / "boxes.csv").open(newline="") as file:
        assert list(csv.DictReader(file))
    code, _, err = in_process(
        capsys, "evaluate", run, "--data", sorted_neu, "--boxes", tmp_path / "boxes.csv", "--threshold", "0.3"
    )
    assert code == 0, err


def _same_names(sorted_neu: Path, root: Path) -> Path:
    """Splits whose class folders hold 1.jpg, 2.jpg, ..., as most sets of people's own do."""
    for folder in sorted(sorted_neu.glob("*/*")):
        target = root / folder.relative_to(sorted_neu)
        target.mkdir(parents=True)
        for number, image in enumerate(sorted(folder.iterdir()), start=1):
            shutil.copy(image, target / f"{number}.jpg")
    return root


class ReviewLoop(NamedTuple):
    """Data whose splits share file names, a run, and the folder of its boxes before and after a review."""

    data: Path
    run: Path
    boxes: Path
    export: Path

    @property
    def reviewed(self) -> Path:
        return self.boxes / "reviewed.json"

    @property
    def next_step(self) -> list[str]:
        """What `cdtr import-corrections` names as the next command."""
        named = ("--data", "DATA", "--split", "SPLIT", "--boxes", str(self.reviewed))
        return ["cdtr", "calibrate", str(self.run), *named]


@pytest.fixture(scope="module")
def loop(run: Path, sorted_neu: Path, tmp_path_factory: pytest.TempPathFactory) -> ReviewLoop:
    root = tmp_path_factory.mktemp("review")
    data, out, copy = _same_names(sorted_neu, root / "data set"), root / "boxes", root / "a run & more"
    shutil.copytree(run, copy)
    in_fixture("localize", copy, data / "val", "--out", out, "--format", "coco,csv,yolo", "--threshold", "0.3")
    # The reviewer corrects the classes, which a run of a few steps may have all wrong.
    export = root / "export.json"
    tree = json.loads((out / "coco.json").read_text())
    numbers = {category["name"]: category["id"] for category in tree["categories"]}
    folders = {image["id"]: Path(image["file_name"]).parent.name for image in tree["images"]}
    for box in tree["annotations"]:
        box["category_id"] = numbers[folders[box["image_id"]]]
    export.write_text(json.dumps(tree))
    return ReviewLoop(data, copy, out, export)


@pytest.fixture(scope="module")
def imported(loop: ReviewLoop) -> str:
    """What `cdtr import-corrections` printed; the reviewed boxes lie in ``loop.reviewed``."""
    words = ("--boxes", loop.boxes, "--run", loop.run, "--out", loop.reviewed)
    return in_fixture("import-corrections", loop.export, *words)[0]


def test_imported_corrections_name_the_next_step(loop: ReviewLoop, imported: str) -> None:
    assert shlex.split(imported.splitlines()[-1]) == loop.next_step


@pytest.mark.usefixtures("imported")
def test_the_next_step_calibrates_and_names_its_own(loop: ReviewLoop, capsys: pytest.CaptureFixture[str]) -> None:
    named = {"DATA": loop.data, "SPLIT": "val"}
    code, printed, err = in_process(capsys, *(named.get(word, word) for word in loop.next_step[1:]))
    assert code == 0, err
    assert "images of val" in printed
    assert "read: " in err
    assert shlex.quote(str(loop.run)) in printed, "the next step can be pasted"


@pytest.mark.parametrize("boxes", ["coco.json", "boxes.csv", "yolo"])
def test_boxes_of_a_program_are_told_from_the_truth(
    boxes: str, loop: ReviewLoop, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--data", loop.data, "--boxes", loop.boxes / boxes)
    code, _, err = in_process(capsys, "evaluate", loop.run, *place, "--split", "val", "--threshold", "0.3")
    assert code == 0, err
    assert "so a program found them" in err or "that `cdtr localize` wrote" in err


@pytest.mark.usefixtures("imported")
def test_boxes_of_no_named_split_are_refused_where_splits_share_file_names(
    loop: ReviewLoop, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--data", loop.data, "--boxes", loop.reviewed)
    code, _, err = in_process(capsys, "evaluate", loop.run, *place, "--threshold", "0.3")
    assert code == 2
    assert "say which split the boxes are of, as with --split val --boxes FILE" in err


def test_boxes_written_below_the_data_are_never_the_truth(
    run: Path, sorted_neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = tmp_path / "steel", tmp_path / "scores.json"
    shutil.copytree(sorted_neu, data)
    words = ("localize", run, data, "--out", data / "boxes", "--format", "coco,voc", "--overlays", "--threshold", "0.3")
    assert in_process(capsys, *words)[0] == 0
    code, printed, err = in_process(capsys, "data", "check", data, "--no-near")
    assert code == 0, printed + err
    assert f"read: {48 + 18} images (48 train, 18 val)" in printed
    code, _, err = in_process(capsys, "evaluate", run, "--data", data, "--threshold", "0.3", "--json", file)
    assert code == 0, err
    assert json.loads(file.read_text())["n_annotated"] == 0


def test_a_long_name_costs_its_picture_alone(
    run: Path, sorted_neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    images = sorted((sorted_neu / "val" / "patches").iterdir())
    shutil.copy(images[0], tmp_path / "photos" / f"{'x' * 250}.jpg")
    shutil.copy(images[1], tmp_path / "photos" / "b.jpg")
    out = tmp_path / "out"
    words = ("localize", run, tmp_path / "photos", "--out", out, "--format", "coco", "--overlays", "--threshold", "0.3")
    code, _, err = in_process(capsys, *words)
    assert code == 0, err
    assert "its name is too long" in err
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 2
    assert [path.name for path in (out / "overlays").iterdir()] == ["b.jpg.jpg"]


def test_copies_are_left_out_on_request(sorted_neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "steel"
    shutil.copytree(sorted_neu, root)
    first = next((root / "val" / "patches").iterdir())
    shutil.copy(first, root / "train" / "patches" / "copy.jpg")
    out = tmp_path / "run"
    code, _, err = in_process(
        capsys, "train", root, "--out", out, "--config", "small", "--deduplicate", *tiny_settings()
    )
    assert code == 0, err
    assert "1 images of val are also in train, there 1 times: left out there" in err
    splits = json.loads((out / "manifest.json").read_text())["splits"]
    assert splits["fit"]["images"] + splits["held_out"]["images"] == 48
    assert "deduplicate: true" in (out / "config.yaml").read_text()


@pytest.fixture(scope="module")
def shards(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """NEU-DET in shards, and what `cdtr data shards` printed."""
    out = tmp_path_factory.mktemp("packed") / "shards"
    return out, in_fixture("data", "shards", neu, "--out", out, "--images", 10)[0]


@pytest.fixture(scope="module")
def run_of_shards(shards: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run trained and calibrated on shards, and what `cdtr train` noted."""
    out = tmp_path_factory.mktemp("runs") / "of-shards"
    _, noted = in_fixture("train", shards[0], "--out", out, "--config", "small", *tiny_settings())
    in_fixture("calibrate", out, "--data", shards[0])
    return out, noted


def test_shards_are_counted(shards: tuple[Path, str]) -> None:
    out, printed = shards
    assert f"wrote {out}: 5 shards of train, 2 shards of val" in printed


def test_training_on_shards_counts_their_images(run_of_shards: tuple[Path, str]) -> None:
    assert "webdataset: 36 training images of 6 classes, 12 held out" in run_of_shards[1]


def test_shards_and_files_give_the_same_scores(
    run_of_shards: tuple[Path, str],
    shards: tuple[Path, str],
    neu: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scores = {}
    for name, data in (("shards", shards[0]), ("files", neu)):
        file = tmp_path / f"{name}.json"
        code, _, err = in_process(capsys, "evaluate", run_of_shards[0], "--data", data, "--json", file)
        assert code == 0, err
        scores[name] = _scores(file)
    metrics = ("gt_known_loc", "top1_loc", "top1_cls", "mean_iou")
    for name in metrics:
        assert scores["shards"]["metrics"][name] == pytest.approx(scores["files"]["metrics"][name], abs=1e-3)


def test_shards_do_not_go_into_a_folder_of_others(
    shards: tuple[Path, str], neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(capsys, "data", "shards", neu, "--out", shards[0])
    assert code == 2
    assert "is not empty" in err


def test_a_group_without_a_verb_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = in_process(capsys, "data")
    assert code == 2
    assert err == "error: Expected a command. See `cdtr data --help`.\n"


def test_what_to_do_about_a_wrong_option_is_a_sentence_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = in_process(capsys, "score", "--boxes", "boxes.json")
    assert code == 2
    assert err == "error: No such option: --boxes. See `cdtr score --help`.\n"
