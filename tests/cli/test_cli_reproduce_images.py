"""The paper's figures that are pictures through the command line: one training serves them all."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from cli_helpers import TINY, in_process, run_cdtr
from PIL import Image

from cdtr.cli._output import TERMINAL
from cdtr.config import load_config, load_reproduction
from cdtr.data.datasets import load_source, synthetic
from cdtr.evaluation import find_protocol
from cdtr.workflows.paper_gallery import gallery_files, seeds_to_train
from cdtr.workflows.paper_runs import Scale, plan_paper

SEED = 3


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.generate(tmp_path_factory.mktemp("drawn") / "set", n_train=64, n_val=16, size=64).root


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("presets") / "tiny.yaml"
    path.write_text(load_config("small", TINY).to_yaml())
    return path


@pytest.fixture(scope="module")
def out(drawn: Path, preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which CDTR is trained on CUB's place, by way of figure 8."""
    folder = tmp_path_factory.mktemp("paper")
    words = ("--data", f"cub={drawn}", "--preset", preset, "--seeds", f"{SEED},4", "--rows", "cdtr", "--images", 5)
    done = run_cdtr("reproduce", "figure-8", *words, "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "5 val images with boxes of set, drawn at random (seed 3)" in done.stderr
    assert "cdtr on ilsvrc: no data: give --data ilsvrc=DIR" in done.stderr
    runs = sorted((folder / "runs" / "cub").iterdir())
    assert [run.name.rpartition("-")[2] for run in runs] == ["3"], "pictures show one run, so one is trained"
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def reproduce(name: str, out: Path, drawn: Path, preset: Path, capsys: pytest.CaptureFixture[str]) -> str:
    words = ("--data", f"cub={drawn}", "--preset", preset, "--seeds", SEED, "--rows", "cdtr", "--images", 5)
    code, _, err = in_process(capsys, "reproduce", name, *words, "--out", out)
    assert code == 0, err
    return err


def test_a_figure_shows_what_was_measured(out: Path) -> None:
    rows = read(out / "figure-8.csv")
    assert len({row["image_id"] for row in rows}) == len(rows) == 5
    (result,) = (out / "runs" / "cub").glob("*/evaluation.json")
    tree = json.loads(result.read_text())["protocols"]["wsol"]
    assert {(row["row"], row["seed"], row["protocol"]) for row in rows} == {("cdtr", str(SEED), "wsol")}
    assert [float(row["threshold"]) for row in rows] == pytest.approx([tree["threshold"]] * 5, abs=1e-3)
    assert all(0 <= float(row["iou"]) <= 100 for row in rows)
    text = (out / "figure-8.md").read_text()
    assert "drawn at random" in text
    assert "which map its predicted boxes come from" in text, "the figure's notes"
    with Image.open(out / "figure-8.png") as picture:
        assert picture.width > picture.height > 500


def test_the_same_run_and_images_serve_the_other_figures(
    out: Path, drawn: Path, preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [row["image_id"] for row in read(out / "figure-8.csv")]
    for name in ("figure-4", "figure-6"):
        err = reproduce(name, out, drawn, preset, capsys)
        assert "cdtr on ilsvrc: no data" in err
        assert [row["image_id"] for row in read(out / f"{name}.csv")] == shown
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    reproduce("Fig. 11", out, drawn, preset, capsys)
    assert [row["image_id"] for row in read(out / "figure-11b.csv")] == shown
    assert {row["name"] for row in read(out / "figure-11.csv")} >= {"cls", "total"}, "part (a) is there too"
    assert {path.name for path in out.glob("figure-11*.png")} == {"figure-11.png", "figure-11b.png"}


def test_attention_before_and_after_and_its_noise(
    out: Path, drawn: Path, preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reproduce("figure-2", out, drawn, preset, capsys)
    means = {
        (row["kind"], row["share_of"], row["when"]): float(row["mean"])
        for row in read(out / "figure-2-noise.csv")
        if row["images"] == "all"
    }
    for when in ("before training", "after training"):
        kinds = sum(means[kind, "attention", when] for kind in ("base", "novel", "own"))
        assert kinds == pytest.approx(means["all kinds", "attention", when], abs=0.01)
    assert ("base", "scaled attention", "before training") in means
    assert (out / "figure-2-noise.png").is_file()
    assert "random weights, built again with the run's seed (3)" in (out / "figure-2.md").read_text()


def test_failures_are_chosen_by_a_rule(
    out: Path, drawn: Path, preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = Path(shutil.copytree(out, tmp_path / "out"))
    (result,) = (changed / "runs" / "cub").glob("*/evaluation.json")
    tree = json.loads(result.read_text())
    tree["protocols"]["wsol"]["threshold"] = 0.97  # boxes of a few pixels: all miss
    result.write_text(json.dumps(tree))
    err = reproduce("figure-13", changed, drawn, preset, capsys)
    assert "that CDTR classifies correctly with an IoU below 0.5, among 16 val images" in err
    rows = read(changed / "figure-13.csv")
    assert rows
    assert all(row["class"] == row["predicted"] and float(row["iou"]) < 50 for row in rows)
    assert all(row["error"] in ("m_ins", "part", "more", "other") for row in rows)


def gallery(name: str, out: Path, drawn: Path, preset: Path, seed: int = SEED) -> dict[str, str | bytes]:
    """What would be written with the runs that are there, trained or not."""
    found, source = load_reproduction(name), load_source(drawn)
    scale = Scale({"cub": source}, dict.fromkeys(found.data, str(preset)))
    rules = dict.fromkeys(found.data, find_protocol("wsol"))
    return gallery_files(found, plan_paper(found, scale), scale, seed, out, rules, 2, TERMINAL)


def test_a_row_that_is_not_done_is_left_out_with_a_note(
    out: Path, drawn: Path, preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = gallery("figure-4", out, drawn, preset)
    said = capsys.readouterr().err
    assert "figure-4: catr on cub is left out: its run of seed 3 is not done" in said
    assert set(files) == {"figure-4.md", "figure-4.csv", "figure-4.png"}
    assert str(files["figure-4.csv"]).count("\n") == 1 + 2


def test_without_any_run_there_is_no_picture(
    out: Path, drawn: Path, preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = gallery("figure-13", out, drawn, preset, seed=9)
    assert "figure-13: cub is left out: no run is done" in capsys.readouterr().err
    assert set(files) == {"figure-13.md", "figure-13.csv"}
    assert "Nothing is trained yet." in str(files["figure-13.md"])


def test_failures_need_the_row_that_they_are_of(
    out: Path, drawn: Path, preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CATR's run is done, CDTR's is not."""
    found, source = load_reproduction("figure-13"), load_source(drawn)
    scale = Scale({"cub": source}, dict.fromkeys(found.data, str(preset)))
    plan = plan_paper(found, scale)
    (run,) = (out / "runs" / "cub").iterdir()
    shutil.copytree(run, tmp_path / "runs" / "cub" / f"{plan.runs['cub', 'catr'].key}-{SEED}")
    gallery("figure-13", tmp_path, drawn, preset)
    assert "failures of the row cdtr, whose run is not done or was left out" in capsys.readouterr().err


def test_a_dry_run_counts_one_seed_and_writes_nothing(
    drawn: Path, preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--data", f"cub={drawn}", "--preset", preset, "--rows", "cdtr", "--out", tmp_path / "out", "--dry-run")
    code, said, err = in_process(capsys, "reproduce", "figure-4", *words)
    assert code == 0, err
    assert not (tmp_path / "out").exists(), err
    assert "1 trainings to do" in said


def test_only_figures_of_nothing_but_pictures_take_one_seed() -> None:
    taken = {name: seeds_to_train(load_reproduction(name), [2, 0]) for name in ("figure-4", "figure-11", "table-5")}
    assert taken == {"figure-4": [2], "figure-11": [2, 0], "table-5": [2, 0]}


@pytest.mark.parametrize("images", ["0", "many"])
def test_a_wrong_number_of_images_is_refused(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = in_process(capsys, "reproduce", "figure-4", "--images", images)
    assert code == 2, err
    assert "--images" in err
