"""The paper's tables through the command line: trained, shared between tables, resumed, and refused."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import TINY, in_process, run_cdtr

from cdtr.config import load_config, load_reproduction
from cdtr.data.datasets import load_source
from cdtr.workflows.paper_estimate import images_per_epoch
from cdtr.workflows.paper_runs import Scale, plan_cells, plan_paper, settle_paper
from cdtr.workflows.paper_tables import trainable_rows


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("presets") / "tiny.yaml"
    path.write_text(load_config("small", TINY).to_yaml())
    return path


def test_a_table_is_trained_and_a_figure_takes_the_same_run(
    neu: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    scale = ("--data", neu, "--preset", tiny, "--seeds", "3", "--out", out, "--rows", "catr")
    code, said, err = in_process(capsys, "reproduce", "V", *scale, "--dry-run")
    assert code == 0, err
    assert not out.exists(), err
    assert "1 trainings to do, about " in said
    assert "an estimate from one step" in said

    done = run_cdtr("reproduce", "V", *scale)
    assert done.returncode == 0, done.stderr
    assert {"table-5.md", "table-5.csv", "table-5.tex"} <= {path.name for path in out.iterdir()}
    rows = read_rows(out / "table-5.csv")
    (run,) = (out / "runs" / "cub").glob("csm-ocm-*-3")
    measured = json.loads((run / "evaluation.json").read_text())["protocols"]["wsol"]["metrics"]["gt_known_loc"]
    ours = rows["catr", "gt_known_loc"]
    assert float(ours["ours"]) == pytest.approx(measured, abs=1e-3)
    assert float(ours["difference"]) == pytest.approx(measured - 94.94, abs=1e-2)
    assert ours["paper"] == "94.94"
    assert rows["cdtr", "top1_loc"]["note"] == "left out"
    assert ours["protocol"] == "wsol"
    assert rows["centre_box", "gt_known_loc"]["ours"]

    written = (run / "evaluation.json").stat().st_mtime_ns
    code, _, err = in_process(capsys, "reproduce", "Fig. 11", *scale)
    assert code == 0, "the table's run serves the figure"
    assert (run / "evaluation.json").stat().st_mtime_ns == written, "the table's run serves the figure"
    with (out / "figure-11.csv").open(encoding="utf-8") as file:
        assert {row["name"] for row in csv.DictReader(file)} >= {"cls", "csm", "ocm_awaken", "total"}
    assert (out / "figure-11.png").read_bytes().startswith(b"\x89PNG")

    code, said, err = in_process(capsys, "reproduce", "V", *scale, "--protocol", "cdtr")
    assert code == 0, err
    assert (run / "evaluation.json").stat().st_mtime_ns == written, err
    assert read_rows(out / "table-5.csv")["catr", "top1_loc"]["protocol"] == "cdtr"
    elsewhere = shutil.copytree(neu, tmp_path / "elsewhere")
    code, _, err = in_process(capsys, "reproduce", "V", "--data", elsewhere, *scale[2:])
    assert code == 2, err
    assert "holds runs on" in err


def read_rows(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return {(row["row"], row["metric"]): row for row in csv.DictReader(file)}


def test_costs_are_measured_without_data(tiny: Path, tmp_path: Path) -> None:
    done = run_cdtr("reproduce", "VI", "--preset", tiny, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path / "out" / "table-6.csv")
    assert float(rows["ski", "parameters"]["ours"]) > float(rows["catr", "parameters"]["ours"]) > 0
    assert rows["ski", "multiply_adds"]["ours"] == rows["catr", "multiply_adds"]["ours"]
    layers = float(rows["ski", "layer_multiply_adds"]["ours"])
    assert 0 < layers < float(rows["ski", "multiply_adds"]["ours"])
    assert "recipe small, ours at 64×64 pixels" in rows["ski", "parameters"]["note"]
    assert rows["ski", "gt_known_loc"]["ours"] == ""
    assert "no data: give `data=cub=DIR`" in rows["ski", "gt_known_loc"]["note"]


def test_the_list_names_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = in_process(capsys, "reproduce", "--list")
    assert code == 0
    assert all(name in out for name in ("table-1 ", "table-14", "figure-11"))


TRAINABLE = {"I": 5, "II": 5, "III": 2, "IV": 3, "V": 7, "VI": 4, "VII": 8, "VIII": 10, "IX": 2, "X": 6, "XI": 4}
TRAINABLE |= {"XII": 3, "XIII": 3, "XIV": 4}


@pytest.mark.parametrize(("name", "count"), TRAINABLE.items())
def test_only_rows_that_can_be_trained_are_counted(name: str, count: int) -> None:
    assert len(trainable_rows(load_reproduction(name))) == count


def test_the_rows_that_are_counted_are_those_that_are_run(neu: Path) -> None:
    found, _, known = plan("X", neu, "cub")
    assert {row for _, row in known.runs} == set(trainable_rows(found))


def test_rows_whose_modules_cannot_stand_together_are_not_counted() -> None:
    found = load_reproduction("V")
    rows = dict(found.table.rows)
    rows["ski"] = rows["ski"].model_copy(update={"settings": {"ski": {"enabled": True}, "csm": {"enabled": False}}})
    changed = type(found)(found.name, found.table.model_copy(update={"rows": rows}), found.data)
    assert len(trainable_rows(changed)) == 6


def test_the_list_needs_no_pytorch() -> None:
    words = "import sys; from cdtr.cli.reproduce import command; command(); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 of 21" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("XV",), "unknown table 'XV'"),
        (("XIV", "--data", "NEU"), "several data sets, give NAME=DIR"),
        (("V", "--data", "cup=NEU"), "no data set 'cup', choose from cub"),
        (("V", "--data", "cub=NEU", "--data", "NEU"), "given twice"),
        (("V", "--data", "cub=nowhere"), "no folder"),
        (("V", "--preset", "cup"), "unknown preset 'cup', did you mean 'cub'"),
        (("V", "--set", "ocm.kk=3"), "did you mean 'ocm.k'"),
        (("V", "--rows", "tscan"), "no row 'tscan': choose from tscam"),
        (("V", "--rows", ","), "expected names with commas"),
        (("V", "--seeds", "1,1"), "different numbers"),
        (("V", "--seeds", "a"), "different numbers"),
        (("V", "--protocol", "nope"), "unknown protocol 'nope'"),
        (("V", "--set", "evaluation.protocol=nope"), "unknown protocol 'nope'"),
        (("V", "--data", "cub=NEU", "--preset", "small", "--set", "data.holdout=0"), "set data.holdout above 0"),
    ],
)
def test_what_cannot_work_is_refused_before_any_training(
    arguments: tuple[str, ...], message: str, neu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("NEU", str(neu)) for word in arguments]
    code, _, err = in_process(capsys, "reproduce", *words, "--out", tmp_path / "out")
    assert code == 2, err
    assert message in err
    assert not (tmp_path / "out").exists(), err


def plan(name: str, neu: Path, preset: str, *overrides: str, small_clip: bool = False):
    found = load_reproduction(name)
    scale = Scale(dict.fromkeys(found.data, load_source(neu)), dict.fromkeys(found.data, preset), overrides, small_clip)
    return found, scale, plan_paper(found, scale)


def test_rows_of_equal_settings_share_a_run(neu: Path) -> None:
    _, _, ablation = plan("V", neu, "cub")
    _, _, first = plan("I", neu, "cub")
    _, _, over_p = plan("VII", neu, "cub")
    keys = {row: run.key for (_, row), run in ablation.runs.items()}
    assert len(set(keys.values())) == 7
    assert first.runs["cub", "cdtr"].key == keys["cdtr"] == over_p.runs["cub", "p-0.25"].key
    assert over_p.runs["cub", "p-0.10"].key != keys["cdtr"]
    assert keys["tscam"].partition("-")[0] == "plain"
    assert keys["cdtr"].rpartition("-")[0] == "csm-ocm-ski-sba"
    _, _, other_p = plan("V", neu, "cub", "ocm.p=0.5")
    assert other_p.runs["cub", "tscam"].key == keys["tscam"], "what OCM is set to does not matter to TS-CAM"
    assert other_p.runs["cub", "ocm"].key != keys["ocm"]


def test_a_preset_without_sba_trains_a_row_once(neu: Path, tmp_path: Path) -> None:
    _, scale, known = plan("V", neu, "cub-50-small", small_clip=True)
    runs = {row: run for (_, row), run in known.runs.items()}
    assert runs["cdtr"].key == runs["ski"].key
    assert runs["sba"].key == runs["catr"].key
    assert runs["cdtr"].wanted == ("csm", "ocm", "ski", "sba")
    clips, cells = plan_cells(known, scale, {"cub": "held-out"}, [0, 1], tmp_path)
    assert len(clips) == 0
    assert len(cells) == 2 * 5


def test_one_small_clip_a_seed_serves_all_rows(neu: Path, tmp_path: Path) -> None:
    _, scale, known = plan("V", neu, "neu-det-small", small_clip=True)
    clips, cells = plan_cells(known, scale, {"cub": "held-out"}, [0, 1], tmp_path)
    assert len(clips) == 2
    assert len(cells) == 2 * 7
    with_clip = [cell for cell in cells if any("sba.model=" in word for word in cell.commands[0])]
    assert len(with_clip) == 2 * 2


def test_insisting_on_sba_adds_it_to_no_other_row(neu: Path) -> None:
    _, _, known = plan("V", neu, "cub", "sba.enabled=true")
    switched_on = {row: run.config.sba.enabled for (_, row), run in known.runs.items()}
    assert {row for row, on in switched_on.items() if on is True} == {"sba", "cdtr"}
    assert {row for row, on in switched_on.items() if on is False} == {"tscam", "csm", "ocm", "catr", "ski"}


def test_rows_that_the_scale_cannot_have_say_so(neu: Path) -> None:
    _, _, known = plan("VIII", neu, "small")
    assert set(known.runs) == {("cub", "k-3"), ("ilsvrc", "k-4")}
    assert "not at this scale: ocm.k = 9" in known.reasons["cub", "k-9"]


def test_each_method_of_another_paper_has_runs_of_its_own(neu: Path) -> None:
    _, _, known = plan("XII", neu, "cub")
    _, _, first = plan("I", neu, "cub")
    keys = {row: run.key for found in (known, first) for (data, row), run in found.runs.items() if data == "cub"}
    assert {"sat", "cdtr-sat", "scm", "lctr", "tscam", "cdtr"} <= keys.keys()
    assert len(set(keys.values())) == len(keys)
    assert keys["cdtr-sat"].rpartition("-")[0] == keys["cdtr"].rpartition("-")[0]
    assert not any(run.config.ocm.enabled for (_, row), run in first.runs.items() if row in ("scm", "lctr"))


def test_the_released_settings_of_another_paper_are_not_those_of_cdtr(neu: Path) -> None:
    _, _, known = plan("XII", neu, "cub-official")
    assert known.reasons["cub", "sat"] == "the released settings of sat are in presets of its own"
    assert "fidelity: official is not for method cdtr_sat" in known.reasons["cub", "cdtr-sat"]


def test_rows_of_a_method_without_released_settings_are_not_trained_as_released(neu: Path, tmp_path: Path) -> None:
    _, scale, known = plan("V", neu, "cub-official")
    assert {row for _, row in known.runs} == {"catr", "ski", "sba", "cdtr"}
    for row in ("tscam", "csm", "ocm"):
        assert known.reasons["cub", row].startswith("fidelity: official is not for method tscam")
    _, cells = plan_cells(known, scale, {"cub": None}, [0], tmp_path)
    assert {tuple(command[0] for command in cell.commands) for cell in cells} == {("train", "evaluate")}


def test_an_epoch_is_costed_by_the_images_that_it_draws(neu: Path) -> None:
    found = load_reproduction("V")
    for preset, images in (("cub", 5395), ("cub-official", 5888)):
        scale = Scale({}, {"cub": preset})
        assert images_per_epoch(found, scale, plan_paper(found, scale).costed["cub", "cdtr"]) == images


def test_a_deduplicated_row_has_a_clip_of_its_own(neu: Path, tmp_path: Path) -> None:
    clips = []
    for changes in ((), ("data.deduplicate=true",), ("data.augment=none",), ("data.workers=0", "data.boxes=none")):
        _, scale, known = plan("V", neu, "neu-det-small", *changes, small_clip=True)
        clips.append(plan_cells(known, scale, {"cub": "held-out"}, [0], tmp_path)[0][0].done)
    assert len(set(clips)) == 3
    assert clips[3] == clips[0], "neither how images are read nor boxes matter to it"


def test_a_threshold_comes_from_the_papers_split_where_the_data_has_it(neu: Path, tmp_path: Path) -> None:
    _, scale, known = plan("V", neu, "small")
    for chosen, expected in (("held-out", False), ("train-fullsup", True)):
        _, cells = plan_cells(known, scale, {"cub": chosen}, [0], tmp_path)
        assert all((cell.commands[1][-2:] == ("--split", "train-fullsup")) is expected for cell in cells)


def test_what_changes_nothing_is_the_same_run_and_taken_as_it_is_asked_for(neu: Path, tmp_path: Path) -> None:
    _, scale, first = plan("V", neu, "cub")
    for path, text in settle_paper(first, scale, [0], tmp_path).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _, scale, again = plan("V", neu, "cub", "data.workers=0", "evaluation.batch_size=8")
    keys = [{place: run.key for place, run in one.runs.items()} for one in (first, again)]
    assert keys[0] == keys[1]
    files = settle_paper(again, scale, [0], tmp_path)
    assert all("workers: 0" in text for path, text in files.items() if path.suffix == ".yaml")
    for change in ("data.deduplicate=true", "evaluation.protocol=sat", "train.lr=0.5"):
        _, _, other = plan("V", neu, "cub", change)
        assert not {run.key for run in other.runs.values()} & {run.key for run in first.runs.values()}


def test_the_settings_of_a_run_are_those_of_its_row(neu: Path) -> None:
    _, _, known = plan("IX", neu, "cub", "weighting.mode=automatic")
    assert known.runs["cub", "fixed"].config.weighting.mode == "fixed", "a row's own setting wins over --set"
