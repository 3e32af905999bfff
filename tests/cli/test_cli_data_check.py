"""`cdtr data check` on real files: what it finds, what it writes, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_helpers import in_process, run_cdtr, sort_neu
from PIL import Image


def _kinds(json_file: Path, problem: bool) -> dict[str, list[str]]:
    """What each kind of finding is about, of all splits."""
    found: dict[str, list[str]] = {}
    for one in json.loads(json_file.read_text())["findings"]:
        if one["problem"] == problem:
            found.setdefault(one["kind"], []).extend(one["items"])
    return found


def test_a_clean_set_passes(neu: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "check"
    done = run_cdtr("data", "check", neu, "--out", out, "--sheet", tmp_path / "sheet.png", "--per-class", 2)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert "reading images: 66" in done.stderr
    assert "no problem" in done.stdout
    for path in (out / "classes.jpg", out / "check.json", tmp_path / "sheet.png"):
        assert f"wrote {path}" in done.stdout
        assert path.is_file()
    tree = json.loads((out / "check.json").read_text())
    assert tree["format"] == "neu_det"
    assert tree["splits"]["train"]["per_class"]["scratches"] == 8
    assert tree["splits"]["val"]["with_boxes"] == 18
    assert 0 < tree["splits"]["val"]["baselines"]["centre_box"]["gt_known_loc"] <= 100
    assert not (out / "copies.jpg").exists()


@pytest.fixture(scope="module")
def spoilt(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with one of every fault, boxes from a CSV file."""
    root = sort_neu(neu, tmp_path_factory.mktemp("spoilt") / "Stähle")
    train, val = root / "train", root / "val"
    first, second, third = sorted((train / "crazing").iterdir())[:3]
    shutil.copy(first, val / "crazing" / "équal.jpg")
    with Image.open(second) as picture:
        picture.convert("L").resize((150, 150)).save(val / "crazing" / "near.png")
    shutil.copy(third, train / "patches" / "other class.jpg")
    (train / "crazing" / "text.jpg").write_text("no image")
    (train / "crazing" / "empty.jpg").touch()
    (train / "crazing" / "out.jpg").symlink_to(neu / "IMAGES" / "gone.jpg")
    (train / "leer").mkdir()
    boxes = {first.name: "10,10,300,90", second.name: "10,10,10,90", "gone.jpg": "1,2,3,4"}
    boxes |= {path.name: "10,20,90,100" for path in (val / "scratches").iterdir()}
    lines = "".join(f"{name},{corners}\n" for name, corners in boxes.items())
    (root / "boxes.csv").write_text(f"image,x_min,y_min,x_max,y_max\n{lines}")
    return root


def test_every_fault_is_found(spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "check"
    code, printed, err = in_process(capsys, "data", "check", spoilt, "--out", out)
    assert code == 1, err
    assert "warning" not in err
    found = _kinds(out / "check.json", problem=True)
    assert set(found) == {
        *("reading", "broken", "empty", "copies-across", "near-across", "labels-differ"),
        *("boxes-unreadable", "boxes-outside"),
    }
    assert found["broken"] == ["train/crazing/text.jpg"]
    assert found["empty"] == ["train/crazing/empty.jpg"]
    assert any("val/crazing/équal.jpg" in item for item in found["copies-across"])
    assert any("val/crazing/near.png" in item for item in found["near-across"])
    assert any("other class.jpg (patches)" in item for item in found["labels-differ"])
    for said in (
        "leer has no images that count",
        "1 dead links (such as train/crazing/out.jpg)",
        "1 of its images are not in",
    ):
        assert said in printed, said
    assert "boxes-missing" in _kinds(out / "check.json", problem=False)
    assert (out / "copies.jpg").is_file()


def test_kinds_can_be_allowed(spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ["reading", "broken", "empty", "copies-across", "labels-differ", "boxes-unreadable", "boxes-outside"]
    allowed = [word for kind in kinds for word in ("--allow", kind)]
    code, printed, _ = in_process(capsys, "data", "check", spoilt, "--no-near", *allowed)
    assert code == 0, printed
    assert "note [broken]" in printed
    code, printed, _ = in_process(capsys, "data", "check", spoilt, "--no-near", *allowed[2:])
    assert code == 1
    assert "(reading)" in printed


def test_the_settings_of_a_training_apply(spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    options = ("--deduplicate", "--boxes", "none", "--set", "data.max_pixels=30000", "--no-near", "--json", file)
    code, _, err = in_process(capsys, "data", "check", spoilt, *options)
    assert code == 1
    assert "left out there" in err
    found = _kinds(file, problem=True)
    assert "copies-across" not in found
    assert not any(kind.startswith("boxes") for kind in found)
    assert len(found["too-large"]) == 48 + 19  # all but near.png, which is smaller
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--allow", "copies"], "unknown kind of finding 'copies'", id="kind"),
        pytest.param(["--sheet", "sheet.gif"], "ends in .jpg", id="sheet"),
        pytest.param(["--out", "{file}"], "is a file: choose a folder", id="out"),
        pytest.param(["--boxes", "none.csv"], "no boxes at none.csv", id="boxes"),
        pytest.param(["--distance", "65"], "--distance", id="distance"),
        pytest.param(["--set", "evaluation.protocol=x"], "unknown protocol", id="protocol"),
        pytest.param(["--set", "data.max_pixel=3"], "max_pixels", id="setting"),
    ],
)
def test_bad_use_is_one_line(
    neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    (tmp_path / "file").touch()
    words = [word.format(file=tmp_path / "file") for word in options]
    code, _, err = in_process(capsys, "data", "check", neu, *words)
    assert code == 2, err
    assert err.count("\n") == 1
    assert message in err


def test_no_data_is_bad_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process(capsys, "data", "check", tmp_path / "gone")[0] == 2


def test_the_brain_scans_that_lie_in_both_splits(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shared_data / "brain-tumor"
    code, printed, _ = in_process(capsys, "data", "check", root, "--no-near", "--json", tmp_path / "a.json")
    assert code == 1
    assert "[copies-across] 219 images of val are also in train, there 260 times" in printed
    tree = json.loads((tmp_path / "a.json").read_text())
    assert {split: facts["images"] for split, facts in tree["splits"].items()} == {"train": 4737, "val": 512}
    assert tree["splits"]["val"]["with_boxes"] == 509
    assert len(_kinds(tmp_path / "a.json", problem=True)["copies-across"]) == 260
