"""What a command says, and to whom: -h, completion, --quiet, --json - and the list of images left out."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from cli_helpers import in_process, run_cdtr
from PIL import Image

from cdtr.cli import build_app
from cdtr.cli._output import asks_for_json
from cdtr.cli._panels import PANELS
from cdtr.config import load_config
from cdtr.data.datasets.synthetic import generate
from cdtr.formats import format_names
from oracles.untrained_run import write_untrained_run

CLASSES = ("cat", "dog", "emu")
SETTINGS = [
    "sba.enabled=false",
    "data.input_size=[32, 32]",
    "data.resize=[32, 32]",
    "backbone.overrides={embed_dim: 48, depth: 2, num_heads: 2}",
    "csm.g=4",
    "ocm.k=2",
    "evaluation.threshold=0.4",
]
# They write files or serve, and have no numbers of their own to answer.
WITHOUT_JSON = {
    "data shards",
    "import-official",
    "pretrain",
    "push",
    "quickstart",
    "refine",
    "report",
    "reproduce",
    "serve",
    "train",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_untrained_run(tmp_path_factory.mktemp("runs") / "run", load_config("small", SETTINGS), CLASSES).path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 40, 50, 3), dtype=np.uint8)
    for name, picture in zip(("a.png", "b.png"), pixels, strict=True):
        Image.fromarray(picture).save(folder / name)
    (folder / "=1+1.jpg").write_text("no image")
    (folder / "two\nlines.png").write_bytes((folder / "a.png").read_bytes())
    return folder


def verbs(group: Any, path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        here = f"{path} {name}".strip()
        found |= verbs(command, here) if hasattr(command, "commands") else {here: command}
    return found


def test_every_command_that_answers_something_answers_in_json() -> None:
    found = verbs(typer.main.get_command(build_app()))
    without = {name for name, verb in found.items() if not any("--json" in one.opts for one in verb.params)}
    assert without == WITHOUT_JSON


@pytest.mark.parametrize("words", [["-h"], ["localize", "-h"], ["data", "-h"], ["data", "check", "-h"]])
def test_h_is_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, err = in_process(capsys, *words)
    assert code == 0
    assert err == ""
    assert "Usage: cdtr" in printed
    assert printed == in_process(capsys, *words[:-1], "--help")[1]


def test_help_lists_the_verbs_by_what_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = in_process(capsys, "-h")
    assert all(f"─ {title} ─" in printed for title in PANELS)
    assert set(verbs(typer.main.get_command(build_app()))) >= {
        verb for title, listed in PANELS.items() if title != "Data" for verb in listed
    }
    places = [printed.index(word) for word in ("─ Train ─", "│ quickstart ", "│ refine ", "─ Use ─", "│ localize ")]
    assert places == sorted(places)


def test_the_help_of_localize_names_every_format() -> None:
    found = verbs(typer.main.get_command(build_app()))["localize"]
    text = next(one.help for one in found.params if "--format" in one.opts)
    assert text == f"Formats to write, with commas between: {', '.join(format_names())}."


def test_help_breaks_lines_at_the_edge_of_the_terminal_alone() -> None:
    found = verbs(typer.main.get_command(build_app()))
    broken = {name for name, verb in found.items() if any("\n" in part for part in verb.help.split("\n\n"))}
    assert broken == set()


@pytest.mark.parametrize(("words", "found"), [("cdtr loc", "localize"), ("cdtr localize --over", "--overlays")])
def test_the_shell_completes_verbs_and_options(words: str, found: str) -> None:
    env = {"_CDTR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert found in run_cdtr(env=env).stdout.split()


def test_completion_can_be_installed(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run_cdtr("--install-completion", "bash", env=env)
    assert done.returncode == 0, done.stderr
    assert any("_CDTR_COMPLETE" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["describe", "x", "--json", "-"], True),
        (["describe", "x", "--json=-"], True),
        (["--json", "-"], True),
        (["describe", "x", "--json", "n.json", "-"], False),
        (["describe", "--json"], False),
        ([], False),
    ],
)
def test_json_on_standard_output_is_recognised(words: list[str], asked: bool) -> None:
    assert asks_for_json(words) is asked


def test_localize_answers_in_json_alone(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed, err = in_process(capsys, "localize", run, photos, "--out", tmp_path / "out", "--json", "-")
    assert code == 0, err
    answer = json.loads(printed)
    boxes = json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]
    assert answer["images"] == 2
    assert answer["boxes"] == len(boxes)
    assert answer["threshold"] == 0.4
    assert set(answer["left_out"]) == {"=1+1.jpg", r"'two\nlines.png'"}
    assert answer["files"] == [str(tmp_path / "out" / "coco.json")]
    assert "boxes in 2 images" in err  # what people read is not lost


def test_describe_answers_in_json(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, printed, err = in_process(capsys, "describe", run, "--json", "-")
    assert code == 0, err
    found = json.loads(printed)
    assert found["classes"] == list(CLASSES)
    assert found["threshold"] == 0.4
    assert found["settings"]["ocm.k"] == 2
    assert f"parameters: {found['parameters']:,}" in err
    assert in_process(capsys, "describe", run, "--json", tmp_path / "n.json")[0] == 0
    assert json.loads((tmp_path / "n.json").read_text()) == found


def test_calibrate_answers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = generate(tmp_path / "data", 8, 4, 40)
    run = write_untrained_run(tmp_path / "run", load_config("small", SETTINGS), source.class_names).path
    code, printed, err = in_process(
        capsys, "calibrate", run, "--data", source.root, "--split", "val", "--label-free", "--json", "-"
    )
    assert code == 0, err
    stored = json.loads((run / "calibration.json").read_text())
    assert json.loads(printed) == {"run": str(run), **stored}


def test_a_folder_is_no_json_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = in_process(capsys, "describe", run, "--json", tmp_path)
    assert code == 2, err
    assert "is a folder" in err


@pytest.mark.parametrize("place", [0, 1, 5])
def test_quiet_leaves_results_and_errors(
    place: int, run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words: list[object] = ["localize", run, photos, "--out", tmp_path / "out"]
    words.insert(place, "--quiet")
    code, printed, err = in_process(capsys, *words)
    assert code == 0
    assert err == ""
    assert "boxes in 2 images" in printed
    code, _, err = in_process(capsys, *words)
    assert code == 2
    assert "is there already" in err
    assert "CDTR_QUIET" not in os.environ


def test_quiet_keeps_warnings_and_drops_next_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cdtr.cli._output import TERMINAL, next_steps

    monkeypatch.setenv("CDTR_QUIET", "1")
    TERMINAL.note("a note")
    TERMINAL.warn("look here")
    next_steps(["x"])
    with TERMINAL.progress("work", 3) as move:
        move(1)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "warning: look here\n"


def test_images_left_out_are_listed(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, printed, err = in_process(capsys, "localize", run, photos, "--out", out)
    assert code == 0, err
    with (out / "left_out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == {"'=1+1.jpg", r"'two\nlines.png'"}
    assert all(row["reason"] for row in rows)
    assert f"wrote {out / 'left_out.csv'}: 2 images that could not be read" in printed
    code, _, err = in_process(capsys, "localize", run, photos / "a.png", "--out", out, "--format", "csv")
    assert code == 2, err
    assert "left_out.csv is there already" in err
    code, printed, err = in_process(capsys, "localize", run, photos / "a.png", "--out", out, "--overwrite")
    assert code == 0, printed
    assert "could not be read" not in printed
    assert not (out / "left_out.csv").exists()  # it was of the earlier run


def test_where_no_image_can_be_read_nothing_is_written(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, _, err = in_process(capsys, "localize", run, photos / "=1+1.jpg", "--out", out)
    assert code == 2, err
    assert "none of the 1 images could be read" in err
    assert "left out =1+1.jpg" in err
    assert not out.exists()


@pytest.mark.parametrize("words", [["--val-share", "0.3"], ["--flat"], ["--copy"]])
def test_options_of_yolo_need_yolo(
    words: list[str], run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = in_process(capsys, "localize", run, photos, "--out", tmp_path / "out", *words)
    assert code == 2, err
    assert "are of the format yolo" in err


def test_yolo_is_divided_unless_told_otherwise(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, names in (((), {"train", "val"}), (("--val-share", "0"), {"train"})):
        out = tmp_path / str(len(more))
        code, _, err = in_process(capsys, "localize", run, photos, "--out", out, "--format", "yolo", *more)
        assert code == 0, err
        assert {path.name for path in (out / "yolo" / "labels").iterdir()} == names
