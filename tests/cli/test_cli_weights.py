"""`cdtr import-official` and `cdtr push`, on real images where there are some."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_helpers import NEU_CLASSES, in_fixture, in_process, run_cdtr

from cdtr.api import Localizer
from cdtr.data.transforms import EvalTransform
from cdtr.image_files.reading import read_image
from oracles.released_models import random_state, released_forward

SIZES = {"classes": 6, "grid": 8}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the released code stores it, six classes, random weights, on an 8x8 grid to be quick."""
    path = tmp_path_factory.mktemp("released") / "CDTR_NEU.pth"
    args = argparse.Namespace(model="deit_small_patch16_224_CDTR_cub", nb_classes=6, lr=5e-5)
    torch.save({"model": random_state(**SIZES), "epoch": 109, "args": args}, path)
    return path


@pytest.fixture(scope="module")
def tscam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "model_best.pth"
    state = random_state(classes=6, family="tscam", width=192)
    torch.save({"epoch": 60, "state_dict": {f"module.{k}": v for k, v in state.items()}, "best_map": 0.877}, path)
    return path


@pytest.fixture(scope="module")
def imported_run(released: Path, neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run that `cdtr import-official` wrote, and what it printed."""
    run = tmp_path_factory.mktemp("imported") / "runs" / "cdtr"
    done = run_cdtr("import-official", released, "--out", run, "--classes", neu)
    assert done.returncode == 0, done.stderr
    return run, done.stdout


@pytest.fixture(scope="module")
def unnamed_run(tscam: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The run of a checkpoint without names of classes, and what the command printed to stdout and stderr."""
    run = tmp_path_factory.mktemp("imported") / "run"
    return run, *in_fixture("import-official", tscam, "--out", run)


def test_an_import_writes_a_run_and_says_what_comes_next(imported_run: tuple[Path, str], released: Path) -> None:
    run, printed = imported_run
    assert "CDTR, deit_small_patch16_224 at 128x128, 6 classes, K = 9, G = 8" in printed
    assert f"wrote {run}" in printed
    assert f"cdtr evaluate {run} --data DATA" in printed
    files = {"classes.txt", "config.yaml", "manifest.json", "model.safetensors"}
    assert {path.name for path in run.iterdir()} == files
    assert [path.name for path in run.parent.iterdir()] == ["cdtr"], "nothing temporary stays"
    imported = json.loads((run / "manifest.json").read_text())["imported"]
    assert imported["sha256"] == hashlib.sha256(released.read_bytes()).hexdigest()
    assert imported["file"] == "CDTR_NEU.pth"
    assert imported["left_out"] == []


def test_an_imported_run_is_evaluated(imported_run: tuple[Path, str], neu: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(imported_run[0], tmp_path / "run"))
    done = run_cdtr("evaluate", run, "--data", neu, "--json", tmp_path / "e.json")
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "e.json").read_text())
    assert measured["protocol"] == "cdtr"
    assert measured["threshold"] == 0.2
    assert measured["n_images"] == 18
    assert measured["metrics"]["gt_known_loc"] is not None
    (stored,) = json.loads((run / "scores.json").read_text())["scores"]
    assert stored["split"] == "val"
    assert stored["protocol"] == "cdtr"
    assert stored["metrics"] == measured["metrics"]


def test_an_imported_run_localizes(
    imported_run: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = imported_run
    picture = next(path for path in sorted((neu / "IMAGES").iterdir()))
    code, _, err = in_process(capsys, "localize", run, picture, "--out", tmp_path / "boxes", "--format", "coco")
    assert code == 0, err
    assert len(json.loads((tmp_path / "boxes" / "coco.json").read_text())["annotations"]) == 1


def test_an_imported_run_has_the_outputs_of_the_released_model(imported_run: tuple[Path, str], neu: Path) -> None:
    picture = next(path for path in sorted((neu / "IMAGES").iterdir()))
    localizer = Localizer.from_pretrained(imported_run[0])
    images = EvalTransform(localizer.config.data)(read_image(picture, 10**8))[None]
    with torch.inference_mode():
        ours, theirs = localizer.method(images), released_forward(random_state(**SIZES), images)
    for mine, name in ((ours.logits, "logits"), (ours.maps, "fused"), (ours.attention, "attention")):
        torch.testing.assert_close(mine, theirs[name], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.aux["m_ocm"], theirs["m_ocm"], atol=1e-4, rtol=1e-4)


def test_classes_without_names_are_numbered(unnamed_run: tuple[Path, str, str]) -> None:
    _, out, err = unnamed_run
    assert "TS-CAM, deit_tiny_patch16_224 at 224x224, 6 classes" in out
    assert "the classes are called class_0, ..." in err


@pytest.mark.parametrize("verb", ["evaluate", "calibrate"])
def test_data_with_other_names_is_refused(
    verb: str, unnamed_run: tuple[Path, str, str], neu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(capsys, verb, unnamed_run[0], "--data", neu)
    assert code == 2
    assert "has 'class_0' as class 0, the data has 'crazing'" in err


def test_the_checkpoint_of_an_import_is_described(
    unnamed_run: tuple[Path, str, str], tscam: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = in_process(capsys, "describe", unnamed_run[0])
    assert code == 0, err
    assert f"imported from: model_best.pth (sha256 {hashlib.sha256(tscam.read_bytes()).hexdigest()})" in out


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\n".join(NEU_CLASSES) + "\n\n", id="names"),
        pytest.param("".join(f"{n} {name}\r\n" for n, name in enumerate(NEU_CLASSES, 1)), id="numbered-as-in-cub"),
    ],
)
def test_class_names_from_a_file(
    text: str, tscam: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classes.txt").write_text(text)
    code, _, err = in_process(
        capsys, "import-official", tscam, "--out", tmp_path / "run", "--classes", tmp_path / "classes.txt"
    )
    assert code == 0, err
    assert tuple((tmp_path / "run" / "classes.txt").read_text().splitlines()) == NEU_CLASSES


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


CASES: dict[str, Callable[[Path, Path], tuple[list[object], str]]] = {
    "no file": lambda file, tmp: ([tmp / "gone.pth"], "no weights file"),
    "text": lambda file, tmp: ([_write(tmp / "w.pth", "hello")], "cannot be read as weights"),
    "pickled object": lambda file, tmp: ([_saved(tmp / "w.pth", {"model": Bomb(tmp / "ran")})], "cannot be read as"),
    "another model": lambda file, tmp: ([_saved(tmp / "w.pth", {"conv1.weight": torch.zeros(1)})], "has no cls_token"),
    "too few names": lambda file, tmp: ([file, "--classes", _write(tmp / "c.txt", "a\nb")], "has 6 classes"),
    "names twice": lambda file, tmp: ([file, "--classes", _write(tmp / "c.txt", "a\nb\nc\nd\ne\na")], "'a' twice"),
    "no names": lambda file, tmp: ([file, "--classes", tmp / "gone.txt"], "no file or folder"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_imports_are_one_line_and_leave_nothing(
    case: Callable[[Path, Path], tuple[list[object], str]],
    tscam: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, expected = case(tscam, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = in_process(capsys, "import-official", *arguments, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("error: ")
    assert expected in err
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_import_does_not_write_over_a_run(tscam: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    code, _, err = in_process(capsys, "import-official", tscam, "--out", tmp_path / "run")
    assert code == 2
    assert "not an empty folder" in err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.fixture(scope="module")
def pushed(calibrated: tuple[Path, str], neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that was evaluated twice, and what `cdtr push --dry-run` printed; the upload lies in ``run-hub`` beside."""
    run = Path(shutil.copytree(calibrated[0], tmp_path_factory.mktemp("pushed") / "run"))
    in_fixture("evaluate", run, "--data", neu)
    in_fixture("evaluate", run, "--data", neu, "--threshold", "0.9")
    done = run_cdtr("push", run, "maria/steel", "--dry-run")
    assert done.returncode == 0, done.stderr
    return run, done.stdout


def test_push_dry_run_writes_what_would_be_uploaded(pushed: tuple[Path, str]) -> None:
    run, printed = pushed
    folder = run.parent / "run-hub"
    assert f"wrote {folder}: README.md, calibration.json" in printed
    assert "nothing was uploaded to maria/steel" in printed
    files = {"calibration.json", "classes.txt", "config.yaml", "manifest.json", "model.safetensors", "scores.json"}
    assert {path.name for path in folder.iterdir()} == files | {"README.md"}
    threshold = json.loads((run / "calibration.json").read_text())["threshold"]
    card = (folder / "README.md").read_text()
    assert f"{threshold:g} of the map's maximum: calibrated on 12 held-out training images" in card
    assert "### `val` of `neu_det`, protocol `wsol`" in card
    assert "threshold 0.9" not in card, "a threshold that was tried is no score of the run"


def test_what_would_be_uploaded_is_a_run(
    pushed: tuple[Path, str], neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pushed[0].parent / "run-hub"
    code, _, err = in_process(capsys, "localize", folder, neu / "IMAGES", "--out", tmp_path / "boxes")
    assert code == 0, err


def test_commands_take_a_hub_id(
    calibrated: tuple[Path, str],
    neu: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Path(shutil.copytree(calibrated[0], tmp_path / "cache", ignore=shutil.ignore_patterns("scores.json")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda hub_id, allow_patterns: str(run))
    place = ("--data", neu)
    for arguments in (
        ("describe", "maria/steel"),
        ("evaluate", "maria/steel", *place),
        ("compare", "maria/steel", "maria/steel", *place),
        ("localize", "maria/steel", neu / "IMAGES", "--out", tmp_path / "boxes"),
        ("calibrate", "maria/steel", *place, "--label-free"),
    ):
        code, _, err = in_process(capsys, *arguments)
        assert code == 0, err
    assert not (run / "scores.json").exists(), "a cache is no place for scores"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("steel", "--dry-run"), "expected owner/name"),
        (("maria/steel", "--out", "x"), "--out is for --dry-run"),
        (("ma ria/steel",), "is no name of the hub"),
    ],
)
def test_bad_pushes_are_one_line(
    arguments: tuple[str, ...], expected: str, tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(capsys, "push", tiny_run, *arguments)
    assert code == 2
    assert expected in err
    assert err.count("\n") == 1


def test_a_run_that_cannot_be_written_is_still_evaluated(
    tiny_run: Path, neu: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("cdtr.runs.RunFolder.add_scores", refuse)
    code, out, err = in_process(capsys, "evaluate", tiny_run, "--data", neu)
    assert code == 0
    assert "Top-1 Cls" in out
    assert f"the scores are not kept in {tiny_run}: Permission denied" in err
