"""What the functions that train say to a reporter, and the run that they return."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cdtr.workflows.train as train_module
from cdtr.config import load_config
from cdtr.errors import ConfigError
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder, write_json
from cdtr.terminal import PlainConsole
from cdtr.workflows.ablate import plan_ablation
from cdtr.workflows.reporting import SILENT
from cdtr.workflows.train import Run, choose_config, console_of, warn_of_training


class Notes:
    """A reporter that keeps its notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)

    def warn(self, message: str) -> None:
        self.lines.append(f"warning: {message}")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda _count: None


def test_lines_of_a_training_become_notes_whole() -> None:
    notes = Notes()
    console = console_of(notes)
    console.print("epoch 1/2  " + "loss 0.123  " * 40, soft_wrap=True)
    console.print("second")
    assert not console.is_terminal
    assert [line.split()[0] for line in notes.lines] == ["epoch", "second"]


def test_a_reporter_with_a_console_keeps_it() -> None:
    class OnConsole(Notes):
        console = PlainConsole(stderr=True)

    assert console_of(OnConsole()) is OnConsole.console


def test_a_silent_training_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console_of(SILENT).print("epoch 1/2")
    assert capsys.readouterr() == ("", "")


def test_a_training_without_a_reporter_warns_of_what_bears_on_it(tmp_path: Path) -> None:
    run, asked = RunFolder(tmp_path), load_config("small", ["sba.enabled=auto"])
    run.config_file.write_text(asked.updated(sba={"enabled": False}).to_yaml())
    write_json(run.manifest_file, {"broken_images": {"dent/1.jpg": "truncated", "dent/2.jpg": "empty"}})
    with pytest.warns(UserWarning, match="left out|SBA is off") as warned:
        warn_of_training(run, asked, SILENT)
    assert [str(one.message) for one in warned] == [
        "left out 2 training images that cannot be read, such as dent/1.jpg: truncated",
        "SBA is off: there is no CLIP that is fast here; `cdtr train-clip` makes a small one for sba.model",
    ]

    class OnConsole(Notes):  # which has printed both already
        console = PlainConsole(stderr=True)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_training(run, asked, OnConsole())
        warn_of_training(run, asked.updated(sba={"enabled": False}), OnConsole())


def test_a_run_shows_its_classes_and_the_scores_of_its_last_epoch(tmp_path: Path) -> None:
    run = Run(tmp_path, DataSource("folder", tmp_path, ("a", "b"), {}, False, lambda _sample: None))
    run.config_file.write_text(load_config("small").to_yaml())
    run.classes_file.write_text("a\nb\n")
    assert repr(run) == f"Run({tmp_path}: recipe small, 2 classes)"
    records = [
        {"kind": "epoch", "step": step, "epoch": step, "terms": {}, "lambdas": {}, "held_out": {"top1_cls": value}}
        for step, value in ((1, 50.0), (2, 75.0))
    ]
    run.metrics_file.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert run.last_epoch == {"top1_cls": 75.0}
    assert repr(run) == f"Run({tmp_path}: recipe small, 2 classes, top1_cls 75.0%)"
    assert isinstance(run, RunFolder), "every function that takes a run folder takes it"


def test_settings_go_over_a_configuration_as_over_a_preset(tmp_path: Path) -> None:
    by_name = choose_config(tmp_path, "small", ["train.epochs=3"], False)
    assert choose_config(tmp_path, load_config("small"), ["train.epochs=3"], False) == by_name


@pytest.mark.parametrize("installed", [True, False], ids=["weights", "no-weights"])
def test_the_default_is_imagenet_where_its_weights_are_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.setattr(train_module, "has_package", lambda _name: installed)
    expected = load_config("imagenet" if installed else "small")
    assert choose_config(tmp_path, None, [], False) == expected


@pytest.mark.parametrize(
    ("images", "overrides", "epochs"),
    [
        (20, [], 60),
        (1500, [], 4),
        (20_000, [], 1),
        (20_000, ["train.epochs=7"], 7),
        (20_000, ["train={epochs: 7}"], 7),
        (20, ["recipe=mine"], 60),
    ],
    ids=["few", "cub-50", "many", "asked-for", "asked-for-below", "own-name"],
)
def test_the_default_has_epochs_by_the_number_of_images(images: int, overrides: list[str], epochs: int) -> None:
    notes = Notes()
    samples = [Sample(f"{number}.png", Path(f"{number}.png"), 0) for number in range(images)]
    source = DataSource("folders", Path("photos"), ("a",), {"train": tuple(samples)}, False, lambda _sample: None)
    fitted = train_module._fit_epochs(source, overrides, notes)
    assert fitted.train.epochs == epochs
    assert f"{epochs} epoch{'' if epochs == 1 else 's'} for {images} images" in notes.lines[0]
    assert "`cdtr priors`" in notes.lines[0]


def test_a_grid_names_an_unknown_row_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("rows: {a: {}}\n")
    with pytest.raises(ConfigError, match="names no data"):
        plan_ablation(tmp_path / "grid.yaml", tmp_path / "out")


def test_without_a_reporter_notes_are_dropped_and_warnings_are_those_of_python(
    capsys: pytest.CaptureFixture[str],
) -> None:
    SILENT.note("read: 3 images")
    with pytest.warns(UserWarning, match="^the scores may be wrong$") as warned:
        SILENT.warn("the scores may be wrong")
    assert warned[0].filename == __file__
    assert capsys.readouterr() == ("", "")
    assert repr(SILENT) == "SILENT"
