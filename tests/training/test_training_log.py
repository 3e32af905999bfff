"""What a training writes while it runs."""

from __future__ import annotations

import json
import math
import re
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_helpers import lines_of, quiet_console, run_training, text_of, tiny_config

from cdtr.runs import RunFolder
from cdtr.training import loop
from cdtr.training.log import TimeLeft, TrainingLog

TERMS = {"cls", "csm", "ocm_suppress", "ocm_awaken", "ski"}


def line(step: int, kind: str = "step") -> str:
    return json.dumps({"kind": kind, "step": step, "epoch": 0, "terms": {}})


@pytest.mark.parametrize(
    ("lines", "step", "kept"),
    [
        ([], 3, []),
        ([line(1), line(2), line(3)], 2, [line(1), line(2)]),
        ([line(1), line(2)], 0, []),
        ([line(1), line(2)], 9, [line(1), line(2)]),
        ([line(2), line(2, "epoch"), line(3)], 2, [line(2), line(2, "epoch")]),
        ([line(1), line(2)[:-7]], 5, [line(1)]),
        ([line(1), "", line(2)], 5, [line(1), line(2)]),
        ([line(1), "null", '{"kind": "step", "step": "1"}', line(2)], 5, [line(1), line(2)]),
    ],
    ids=["empty", "later ones", "all", "none", "an epoch's line at the step", "cut short", "blank", "no record"],
)
def test_the_log_forgets_what_came_after_a_state(tmp_path: Path, lines: list[str], step: int, kept: list[str]) -> None:
    run = RunFolder(tmp_path)
    run.metrics_file.write_text("\n".join(lines))
    run.drop_log_after(step)
    assert run.metrics_file.read_text().splitlines() == kept
    assert run.metrics_file.read_text() == "".join(text + "\n" for text in kept), "each line ends, so the next starts"


def test_drop_lines_without_a_file_makes_none(tmp_path: Path) -> None:
    RunFolder(tmp_path).drop_log_after(3)
    assert list(tmp_path.iterdir()) == []


def test_lines_name_terms_and_lambdas(class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STEPS_BETWEEN_LINES", 2)
    run = run_training(tiny_config(), class_folder, tmp_path / "run")
    steps, epochs = lines_of(run.path, "step"), lines_of(run.path, "epoch")
    assert [record["step"] for record in steps] == [2, 4, 6, 8, 10, 12]
    assert [(record["step"], record["epoch"]) for record in epochs] == [(6, 0), (12, 1)]
    for record in steps + epochs:
        assert record["terms"].keys() == TERMS | {"total"}
        assert record["lambdas"].keys() == TERMS
    assert all(record["lr"] == 1e-3 for record in steps)
    assert all(record["held_out"].keys() == {"top1_cls", "top5_cls"} for record in epochs)


def test_epoch_line_holds_the_mean_of_its_steps(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "STEPS_BETWEEN_LINES", 1)
    run = run_training(tiny_config(), class_folder, tmp_path / "run")
    steps, epochs = lines_of(run.path, "step"), lines_of(run.path, "epoch")
    for epoch in epochs:
        own = [record["terms"] for record in steps if record["epoch"] == epoch["epoch"]]
        assert len(own) == 6
        for name, mean in epoch["terms"].items():
            assert mean == pytest.approx(sum(terms[name] for terms in own) / 6, rel=1e-6)


def test_logged_total_is_eq_2_of_the_logged_terms(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lambdas of a line are those that its total was made with."""
    monkeypatch.setattr(loop, "STEPS_BETWEEN_LINES", 1)
    run = run_training(tiny_config(train={"epochs": 1}), class_folder, tmp_path / "run")
    for record in lines_of(run.path, "step"):
        terms, lambdas = record["terms"], record["lambdas"]
        total = sum(terms[n] / (2 * (lambdas[n] ** 2 + 0.01)) + math.log(1 + lambdas[n] ** 2) for n in TERMS)
        assert terms["total"] == pytest.approx(total, rel=1e-5)


def test_no_held_out_images_no_held_out_numbers(class_folder: Path, tmp_path: Path) -> None:
    run = run_training(tiny_config(data={"holdout": 0}, train={"epochs": 1}), class_folder, tmp_path / "run")
    assert [record["held_out"] for record in lines_of(run.path, "epoch")] == [{}]


def test_tensorboard_has_the_same_names(tmp_path: Path) -> None:
    with TrainingLog(RunFolder(tmp_path), 4, 0, True, quiet_console()) as log:
        log.step(1, 0, {"terms": {"cls": 0.5}, "lambdas": {"cls": 1.0}, "lr": 0.25})
        log.epoch(2, 0, 1, {"terms": {"cls": 0.75, "total": 0.75}, "held_out": {"top1_cls": 50.0}})
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    found = {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}
    assert found == {
        "step/terms/cls": [(1, 0.5)],
        "step/lambdas/cls": [(1, 1.0)],
        "step/lr": [(1, 0.25)],
        "epoch/terms/cls": [(2, 0.75)],
        "epoch/terms/total": [(2, 0.75)],
        "epoch/held_out/top1_cls": [(2, 50.0)],
    }


def test_epoch_is_one_plain_line_off_a_terminal(tmp_path: Path) -> None:
    console = quiet_console()
    with TrainingLog(RunFolder(tmp_path), 4, 0, True, console) as log:
        log.show(1, 0, {"cls": 0.5, "total": 0.5})
        values = {"terms": {"cls": 0.75, "ski": 2.0, "total": 2.75}, "lambdas": {"cls": 1.0, "ski": 0.5}}
        log.epoch(2, 0, 2, {**values, "held_out": {"top1_cls": 50.0}})
        log.epoch(4, 1, 2, {"terms": {"total": 0.5}, "lambdas": {}, "held_out": {}})
    first, last = text_of(console).splitlines()
    assert re.fullmatch(r"epoch 1/2  loss 2\.750  held-out Top-1 50\.0  \d+ s left", first)
    assert last == "epoch 2/2  loss 0.500", "nothing is left"


def test_the_line_of_the_largest_training_has_at_most_100_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    console, clock = quiet_console(), iter([0.0, 3600.0])
    monkeypatch.setattr("cdtr.training.log.time", SimpleNamespace(monotonic=lambda: next(clock)))
    terms = dict.fromkeys(("total", "cls", "csm", "ocm_suppress", "ocm_awaken", "ski", "guide"), 12.345)
    values = {"terms": terms, "lambdas": terms, "attention": {"class_map": -0.45}, "diagnostics": terms}
    with TrainingLog(RunFolder(tmp_path), 1000, 0, True, console) as log:
        log.epoch(500, 998, 1000, {**values, "held_out": {"top1_cls": 100.0, "top5_cls": 100.0}})
    line, _warning = text_of(console).splitlines()
    assert line.endswith("attention like class map -0.45  60 min left")
    assert len(line) <= 100
    (logged,) = (json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert logged["terms"] == terms, "the log has what the line leaves out"


@pytest.mark.parametrize(
    ("seconds", "done", "expected"),
    [(10.0, 0, ""), (10.0, 25, "10 s left"), (600.0, 30, "10 min left"), (9000.0, 25, "2 h left"), (9.0, 40, "")],
    ids=["not-begun", "seconds", "minutes", "hours", "done"],
)
def test_the_time_left_goes_by_the_pace_since_the_start(
    seconds: float, done: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 100.0 + seconds])
    monkeypatch.setattr("cdtr.training.log.time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert TimeLeft(40, 20 if done == 30 else 10 if done else 0).after(done) == expected


def test_terminal_shows_epoch_and_loss(tmp_path: Path) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with TrainingLog(RunFolder(tmp_path), 4, 0, True, console) as log:
        log.show(1, 2, {"cls": 0.5, "total": 0.75})
    assert "epoch 3" in text_of(console)
    assert "loss 0.750" in text_of(console)


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    console = quiet_console()
    with TrainingLog(RunFolder(tmp_path), 4, 0, False, console) as log:
        log.show(1, 0, {"total": 0.5})
        log.step(1, 0, {"terms": {"cls": 0.5}})
        log.epoch(2, 0, 1, {"terms": {"total": 0.75}})
    assert list(tmp_path.iterdir()) == []
    assert text_of(console) == ""


def test_inverted_attention_is_warned_of_in_the_second_half(tmp_path: Path) -> None:
    console = quiet_console()
    with TrainingLog(RunFolder(tmp_path), 4, 0, True, console) as log:
        for epoch, likeness in enumerate((-0.4, 0.3, -0.2, 0.1)):
            log.epoch(epoch + 1, epoch, 4, {"terms": {"total": 0.5}, "attention": {"class_map": likeness}})
    lines = text_of(console).splitlines()
    assert "attention like class map -0.40" in lines[0]
    assert [index for index, line in enumerate(lines) if line.startswith("warning: the attention is inverted")] == [3]
    assert "-0.20" in lines[3]
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["attention"]["class_map"] for record in logged] == [-0.4, 0.3, -0.2, 0.1]


def test_the_attention_of_held_out_images_is_logged(class_folder: Path, tmp_path: Path) -> None:
    run = run_training(tiny_config(train={"epochs": 1}), class_folder, tmp_path / "run")
    (record,) = lines_of(run.path, "epoch")
    assert -1 <= record["attention"]["class_map"] <= 1
