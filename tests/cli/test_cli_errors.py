"""Bad input: one line that says what to do, the right exit code, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_helpers import in_process, run_cdtr, tiny_settings
from PIL import Image

from cdtr import cli
from cdtr.data.datasets.synthetic import generate
from cdtr.errors import TrainingError

Case = Callable[[Path, Path, Path], tuple[list[object], str]]


def _train(data: object, out: Path, *more: object) -> list[object]:
    return ["train", data, "--out", out, "--config", "small", *tiny_settings(), *more]


def _occupied(tmp: Path) -> Path:
    (tmp / "out").mkdir()
    (tmp / "out" / "thesis.txt").write_text("mine")
    return tmp / "out"


def _all_broken(tmp: Path) -> Path:
    (tmp / "bad").mkdir()
    for name in ("a.jpg", "b.png"):
        (tmp / "bad" / name).write_bytes(b"not an image")
    return tmp / "bad"


def _empty(tmp: Path) -> Path:
    (tmp / "empty").mkdir()
    return tmp / "empty"


def _file(tmp: Path) -> Path:
    (tmp / "out").write_text("a file")
    return tmp / "out"


def _only_val(tmp: Path) -> Path:
    for name in ("a", "b"):
        (tmp / "data" / "val" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp / "data" / "val" / name / "1.png")
    return tmp / "data"


def _latin(tmp: Path) -> Path:
    (tmp / "mine.yaml").write_bytes(b"method: caf\xe9\n")
    return tmp / "mine.yaml"


def _boxes(tmp: Path) -> Path:
    (tmp / "boxes").mkdir()
    (tmp / "boxes" / "coco.json").write_text("reviewed by hand")
    return tmp / "boxes"


def _overlays(tmp: Path) -> Path:
    (tmp / "boxes" / "overlays").mkdir(parents=True)
    return tmp / "boxes"


def _newer(run: Path, tmp: Path) -> Path:
    newer = Path(shutil.copytree(run, tmp / "newer"))
    (newer / "config.yaml").write_text("warp: 9\n" + (newer / "config.yaml").read_text())
    (newer / "manifest.json").write_text(json.dumps({"versions": {"cdtr": "99.1"}}))
    return newer


NO_TRAINING = "has no training images: expected a train split, found val"

CASES: dict[str, Case] = {
    "no data folder": lambda run, neu, tmp: (_train(tmp / "nowhere", tmp / "out"), "no folder"),
    "empty data folder": lambda run, neu, tmp: (_train(_empty(tmp), tmp / "out"), "is empty"),
    "unknown preset": lambda run, neu, tmp: (_train(neu, tmp / "out", "--config", "smal"), "did you mean 'small'"),
    "unknown key": lambda run, neu, tmp: (_train(neu, tmp / "out", "--set", "train.epoch=1"), "'train.epochs'"),
    "bad value": lambda run, neu, tmp: (_train(neu, tmp / "out", "--set", "train.epochs=no"), "train.epochs"),
    "unknown method": lambda run, neu, tmp: (_train(neu, tmp / "out", "--set", "method=ctdr"), "did you mean 'cdtr'"),
    "unknown protocol in the settings": lambda run, neu, tmp: (
        _train(neu, tmp / "out", "--set", "evaluation.protocol=wsl"),
        "unknown protocol 'wsl': choose one of",
    ),
    "unknown protocol of quickstart": lambda run, neu, tmp: (
        ["quickstart", "--out", tmp / "out", "--images", "8,8", "--set", "evaluation.protocol=wsl"],
        "unknown protocol 'wsl': choose one of",
    ),
    "only val": lambda run, neu, tmp: (_train(_only_val(tmp), tmp / "out"), NO_TRAINING),
    "only val for CLIP": lambda run, neu, tmp: (["train-clip", _only_val(tmp), "--out", tmp / "out"], NO_TRAINING),
    "config not UTF-8": lambda run, neu, tmp: (_train(neu, tmp / "out", "--config", _latin(tmp)), "is not UTF-8"),
    "smallest area of 2": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", tmp / "out", "--multi", "--min-area", "2"],
        "--min-area",
    ),
    "run folder not empty": lambda run, neu, tmp: (_train(neu, _occupied(tmp)), "not empty"),
    "unknown verb": lambda run, neu, tmp: (["trian", neu], "trian"),
    "missing option": lambda run, neu, tmp: (["train", neu], "--out"),
    "unknown option": lambda run, neu, tmp: (["describe", run, "--al"], "--al"),
    "no run": lambda run, neu, tmp: (["describe", tmp / "runs" / "x"], "no run folder"),
    "data is no run": lambda run, neu, tmp: (["describe", neu], "has no config.yaml"),
    "image missing": lambda run, neu, tmp: (
        ["localize", run, tmp / "no.jpg", "--out", tmp / "out"],
        "no file or folder",
    ),
    "no match": lambda run, neu, tmp: (["localize", run, f"{tmp}/*.jpg", "--out", tmp / "out"], "no file matches"),
    "no image in folder": lambda run, neu, tmp: (["localize", run, _empty(tmp), "--out", tmp / "out"], "no image"),
    "all images broken": lambda run, neu, tmp: (
        ["localize", run, _all_broken(tmp), "--out", tmp / "out"],
        "none of the 2",
    ),
    "boxes of an earlier run": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", _boxes(tmp), "--format", "csv,coco"],
        "coco.json is there already: choose another --out, or give --overwrite",
    ),
    "overlays of an earlier run": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", _overlays(tmp), "--overlays"],
        "overlays is there already",
    ),
    "run of a newer version": lambda run, neu, tmp: (["describe", _newer(run, tmp)], "was written by cdtr 99.1"),
    "unknown format": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", tmp / "out", "--format", "coco,coko"],
        "did you mean 'coco'",
    ),
    "out is a file": lambda run, neu, tmp: (["localize", run, neu / "IMAGES", "--out", _file(tmp)], "is a file"),
    "threshold of 2": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", tmp / "out", "--threshold", "2"],
        "from 0 up to",
    ),
    "tiles of no size": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", tmp / "out", "--tiles", "big"],
        "tiles 'big': expected auto",
    ),
    "tiles smaller than the input": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", tmp / "out", "--tiles", "64", "--threshold", "0.4"],
        "tiles of 64 pixels are smaller than the network's input of 72 x 72: expected --tiles auto",
    ),
    "tiles and several classes": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", tmp / "out", "--tiles", "auto", "--top-k", "2"],
        "leave --top-k out",
    ),
    "tiles of maps of your own": lambda run, neu, tmp: (
        ["localize", neu / "IMAGES", "--maps", neu / "IMAGES", "--out", tmp / "out", "--tiles", "auto"],
        "leave --tiles out",
    ),
    "no such device": lambda run, neu, tmp: (
        ["localize", run, neu / "IMAGES", "--out", tmp / "out", "--device", "abacus"],
        "no device 'abacus'",
    ),
    "unknown split": lambda run, neu, tmp: (
        ["evaluate", run, "--data", neu, "--split", "tset"],
        "train, val, held-out",
    ),
    "unknown protocol": lambda run, neu, tmp: (["evaluate", run, "--data", neu, "--protocol", "wsl"], "wsol"),
    "json of evaluate is a folder": lambda run, neu, tmp: (
        ["evaluate", run, "--data", tmp / "nowhere", "--json", tmp],
        "is a folder: name the file to write as --json",
    ),
    "json of compare is a folder": lambda run, neu, tmp: (
        ["compare", run, run, "--data", tmp / "nowhere", "--json", tmp],
        "is a folder: name the file to write as --json",
    ),
    "json of score is a folder": lambda run, neu, tmp: (
        ["score", tmp, "--data", tmp / "nowhere", "--json", tmp],
        "is a folder: name the file to write as --json",
    ),
    "figures of evaluate are a file": lambda run, neu, tmp: (
        ["evaluate", run, "--data", tmp / "nowhere", "--figures", _file(tmp)],
        "is a file: choose a folder as --figures",
    ),
    "figures of score are a file": lambda run, neu, tmp: (
        ["score", tmp, "--data", tmp / "nowhere", "--figures", _file(tmp)],
        "is a file: choose a folder as --figures",
    ),
    "bad counts": lambda run, neu, tmp: (["quickstart", "--out", tmp / "out", "--images", "many"], "two numbers"),
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "NOWHERE", "--config", "small"), "is not empty"),
        (("pretrain", "NOWHERE"), "is not empty"),
        (("train-clip", "NOWHERE"), "is there already"),
        (("refine", "RUN", "--data", "NOWHERE"), "is not empty"),
        (("data", "shards", "NOWHERE"), "is not empty"),
        (("localize", "RUN", "NOWHERE"), "coco.json is there already"),
    ],
    ids=["train", "pretrain", "train-clip", "refine", "shards", "localize"],
)
def test_a_folder_that_is_in_use_is_told_before_any_data_is_read(
    words: tuple[str, ...], expected: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "coco.json").write_text("mine")
    places = {"NOWHERE": tmp_path / "nowhere", "RUN": tiny_run}
    code, _, err = in_process(capsys, *(places.get(word, word) for word in words), "--out", tmp_path / "out")
    assert code == 2
    assert expected in err
    assert "nowhere" not in err
    assert (tmp_path / "out" / "coco.json").read_text() == "mine"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_one_line_and_leaves_nothing(
    case: Case, tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = case(tiny_run, neu, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = in_process(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(lines) == 1
    assert expected in lines[0]
    assert "Traceback" not in err + out
    assert "wrote" not in out
    assert sorted(tmp_path.rglob("*")) == before


def test_sizes_that_the_view_cannot_have_are_refused_before_training(
    neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = "--set", "data.resize=[48, 48]", "--set", "data.input_size=[64, 64]", "--set", "data.augment=resized_crop"
    code, _, error = in_process(capsys, "train", neu, "--out", tmp_path / "run", "--config", "small", *sizes)
    assert code == 2
    assert "view tiled takes crops of data.input_size" in error
    assert not (tmp_path / "run").exists()


def test_real_process_answers_bad_input_with_one_line(tmp_path: Path) -> None:
    done = run_cdtr("train", tmp_path / "nowhere", "--out", tmp_path / "run", "--config", "small")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: no folder")


def test_other_classes_are_refused_with_both_counts(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(tmp_path / "synthetic", n_train=8, n_val=8, size=32)
    for verb in ("evaluate", "calibrate"):
        code, _, err = in_process(capsys, verb, tiny_run, "--data", tmp_path / "synthetic")
        assert code == 2
        assert "has 6 classes, the data has 8" in err


def test_calibrate_refuses_other_images_than_those_held_out(
    tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, run = tmp_path / "changed", tmp_path / "run"
    shutil.copytree(neu, changed)
    shutil.copytree(tiny_run, run)
    names = (changed / "train.txt").read_text().split()
    (changed / "train.txt").write_text("\n".join(names[1:]) + "\n")
    code, _, err = in_process(capsys, "calibrate", run, "--data", changed)
    assert code == 2
    assert "are not those of" in err
    assert json.loads((run / "calibration.json").read_text())["curve"] is None, "that of the training stays"


def test_calibrate_without_boxes_says_what_else_can_be_done(
    tiny_run: Path, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in (neu / "IMAGES").iterdir():
        target = tmp_path / image.stem.rpartition("_")[0] / image.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(image.read_bytes())
    code, _, err = in_process(capsys, "calibrate", tiny_run, "--data", tmp_path)
    assert code == 2
    assert "has no boxes" in err
    assert "--threshold" in err


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (TrainingError("the loss is not a number"), 1, "error: the loss is not a number"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/x"), 2, "error: /full/x: the disk is full: free some"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/x"), 1, "error: /x: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried ...\n..."),
            1,
            "error: out of memory: take fewer images",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "error: out of memory"),
        (MemoryError(), 1, "error: out of memory"),
        (ZeroDivisionError("by zero"), 1, "error: ZeroDivisionError: by zero (unexpected"),
    ],
    ids=["training", "no space", "permission", "ctrl-c", "cuda memory", "cpu memory", "memory", "defect"],
)
def test_failures_end_in_one_line_and_their_code(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr("cdtr.api.find_run", fail)
    found, _, err = in_process(capsys, "describe", "run")
    assert found == code
    assert err.startswith(said)
    assert err.count("\n") == 1
    if isinstance(raised, Exception):
        monkeypatch.setenv("CDTR_DEBUG", "1")
        with pytest.raises(type(raised)):
            cli.main(["describe", "run"])
        monkeypatch.setenv("CDTR_DEBUG", "0")
        with pytest.raises(type(raised)):
            cli.main(["describe", "run", "--debug"])


def test_help_is_fast_and_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from cdtr.cli import build_app; build_app(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    seconds = []
    for _ in range(3):  # the machine may be busy, so the best of three
        start = time.perf_counter()
        assert "quickstart" in run_cdtr("--help").stdout
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.7


def test_every_verb_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = [command.name for command in cli.build_app().registered_commands]
    assert {"train", "train-clip", "calibrate", "compare", "evaluate", "score", "localize"} <= set(verbs)
    assert {"describe", "quickstart"} <= set(verbs)
    for verb in verbs:
        code, out, _ = in_process(capsys, verb, "--help")
        assert code == 0
        assert f"Example: cdtr {verb}" in out


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_the_cores_to_others(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trainings side by side spun away most of each other's time; OpenMP reads the variable when torch comes."""
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == used


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert in_process(capsys, "--version")[:2] == (0, f"cdtr {importlib.metadata.version('cdtr')}\n")
