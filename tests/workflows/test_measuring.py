"""The functions that measure a run, as somebody in a notebook calls them: paths or objects in, typed results out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import cdtr
from cdtr.config import load_config
from cdtr.data.datasets.synthetic import generate
from cdtr.data.split import hold_out, training_samples
from cdtr.errors import ConfigError, DataError
from cdtr.records import DataSource
from cdtr.runs import RunFolder, hash_names
from cdtr.threshold import ThresholdSource
from oracles.untrained_run import write_untrained_run

SETTINGS = (
    "data.input_size=[32, 32]",
    "data.resize=[36, 36]",
    "data.workers=0",
    "data.holdout=0.25",
    "evaluation.view=whole",
    "backbone.overrides={patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2}",
    "ocm.k=2",
    "sba.enabled=false",
)


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.titles: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.notes.append(f"warning: {message}")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        self.titles.append(f"{what}: {total}")
        yield lambda _count: None


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataSource:
    return generate(tmp_path_factory.mktemp("shapes") / "data", 48, 16, seed=0)


@pytest.fixture(scope="module")
def run(source: DataSource, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An untrained run, calibrated on the images that its manifest says it held out."""
    config = load_config("small", SETTINGS)
    folder = write_untrained_run(tmp_path_factory.mktemp("runs") / "run", config, source.class_names)
    _, held = hold_out(training_samples(source), config.data.holdout, config.seed)
    held_out = {"images": len(held), "sha256": hash_names(sample.image_id for sample in held)}
    manifest = {"splits": {"held_out": held_out}, "data": {"root": str(source.root)}}
    folder.manifest_file.write_text(json.dumps(manifest))
    cdtr.calibrate(folder, source, device="cpu")
    return folder


@pytest.fixture(autouse=True)
def _nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == ""


def test_calibrate_returns_what_it_wrote(run: RunFolder, source: DataSource) -> None:
    recorder = Recorder()
    found = cdtr.calibrate(str(run.path), source.root, device="cpu", reporter=recorder)
    stored = run.calibration()
    assert stored is not None
    assert found.threshold == stored["threshold"]
    assert found.chosen_on == "held-out training images"
    assert {name: one.threshold for name, (one, _) in found.by_protocol.items()} == {
        name: one["threshold"] for name, one in stored["by_protocol"].items()
    }
    assert f"threshold {found.threshold:.3g}, GT-known Loc {found.calibration.gt_known_loc:.1f}%" in repr(found)
    assert "<th>GT-known Loc (%)</th>" in found._repr_html_()
    assert found._repr_html_().count("<img ") == 1, "the curve of the sweep"
    assert any(title.startswith("calibrating on held-out training images") for title in recorder.titles)
    assert any(note.startswith("read: ") for note in recorder.notes), "of a set that it opened itself"


def test_evaluate_takes_paths_and_objects_alike(run: RunFolder, source: DataSource) -> None:
    by_object = cdtr.evaluate(run, source, device="cpu")
    by_path = cdtr.evaluate(str(run.path), str(source.root), device="cpu")
    assert by_path.to_json() == by_object.to_json()
    assert by_object.split == "val"
    assert by_object.metrics["gt_known_loc"] is not None
    (stored,) = run.scores()
    assert stored["metrics"] == by_object.metrics
    assert f"GT-known Loc {by_object.metrics['gt_known_loc']:.1f}" in repr(by_object)
    assert f"<td>{by_object.metrics['top1_cls']:.1f}</td>" in by_object._repr_html_()
    assert by_object._repr_html_().count("<img ") == 3, "threshold, IoU, masks"


def test_scores_are_stored_only_where_asked(run: RunFolder, source: DataSource) -> None:
    run.scores_file.unlink(missing_ok=True)
    cdtr.evaluate(run, source, device="cpu", store=False)
    cdtr.evaluate(run, source, device="cpu", threshold=0.4)
    assert not run.scores_file.exists()


def test_several_protocols_are_found_by_name(run: RunFolder, source: DataSource) -> None:
    found = cdtr.evaluate(run, source, protocol=("wsol", "sat"), threshold=0.4, device="cpu")
    assert [one.protocol for one in found] == ["wsol", "sat"]
    assert found["sat"].threshold == 0.4
    assert set(found.to_json()["protocols"]) == {"wsol", "sat"}
    assert "<th>sat</th>" in found._repr_html_()


def test_a_threshold_chosen_on_the_images_is_refused_or_marked(run: RunFolder, source: DataSource) -> None:
    with pytest.raises(DataError, match="are among them: evaluate another split"):
        cdtr.evaluate(run, source, split="held-out", device="cpu")
    marked = cdtr.evaluate(run, source, split="held-out", allow_leak=True, device="cpu").evaluations[0]
    assert marked.map_threshold is not None
    assert marked.map_threshold.source is ThresholdSource.ORACLE
    assert str(marked.map_threshold) == "oracle: calibrated on 16 held-out training images, 16 of them scored here"


def test_boxes_of_an_open_data_set_are_refused(run: RunFolder, source: DataSource) -> None:
    with pytest.raises(ConfigError, match="a data set that is open already"):
        cdtr.evaluate(run, source, boxes="boxes.json")


def test_a_run_differs_from_itself_by_nothing(run: RunFolder, source: DataSource) -> None:
    found = cdtr.compare(run, run, source, device="cpu")
    assert found.n_images == 16
    assert [one.difference for one in found.differences] == [0.0] * len(found.differences)
    assert "GT-known Loc +0.0 (+0.0 to +0.0)" in repr(found)
    assert "<td>+0.0 to +0.0</td>" in found._repr_html_()
    assert found.to_json()["recipes"] == {"a": found.recipes[0], "b": found.recipes[1]}


def test_maps_are_scored(source: DataSource, tmp_path: Path) -> None:
    for sample in source.splits["val"]:
        file = (tmp_path / sample.image_id).with_suffix(".npy")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.pad(np.ones((112, 112), np.float32), 56))
    found = cdtr.score(tmp_path, source.root, threshold=0.5)
    centre = found.evaluations[0].baselines["centre_box"]
    assert found.split == "val"
    assert found.evaluations[0].n_images == 16
    assert found.metrics["gt_known_loc"] is not None
    assert found.metrics["top1_cls"] is None
    assert centre is not None
    assert str(tmp_path) in repr(found)


def test_a_report_is_written(run: RunFolder, source: DataSource, tmp_path: Path) -> None:
    found = cdtr.report(run, source, out=tmp_path / "page.html", images=1, device="cpu")
    assert found.page.is_file()
    assert found.measured is not None
    assert repr(found) == f"Report({tmp_path / 'page.html'}: 16 images of val)"
    assert f'<a href="{tmp_path / "page.html"}">' in found._repr_html_()
    assert "<td>GT-known Loc</td>" in found._repr_html_()


def test_a_report_without_the_data_says_so(run: RunFolder, tmp_path: Path) -> None:
    moved = RunFolder(tmp_path / "moved")
    moved.path.mkdir()
    for file in (run.weights, run.config_file, run.classes_file):
        (moved.path / file.name).write_bytes(file.read_bytes())
    found = cdtr.report(moved)
    assert found.page == moved.path / "report.html"
    assert found.measured is None
    assert found.absent == "the run does not say where its data lies; name it with `data=`."
    assert "<table>" not in found._repr_html_()


def test_a_description_holds_the_facts(run: RunFolder, source: DataSource) -> None:
    found = cdtr.describe(run)
    assert found.class_names == source.class_names
    assert found.settings["ocm.k"] == 2
    assert found.threshold is not None
    assert found.to_json()["threshold_source"] == "calibrated on 16 held-out training images"
    assert f"{len(source.class_names)} classes" in repr(found)
    assert "<td>threshold</td>" in found._repr_html_()
    assert "  ocm.k = 2" in list(found.lines())


def test_every_function_that_takes_a_run_folder_takes_the_run(
    run: RunFolder, source: DataSource, tmp_path: Path
) -> None:
    level = {"threshold": 0.3}
    found = cdtr.localize(run, source.root / "val", tmp_path / "boxes", "coco", device="cpu", **level)  # type: ignore[arg-type]
    by_path = cdtr.Localizer.from_pretrained(run.path, "cpu", 0.3)
    localizer = cdtr.Localizer.from_pretrained(run, "cpu", 0.3)
    assert repr(localizer) == repr(by_path)
    assert len(found.localizations) == len(source.splits["val"])
    assert type(cdtr.load_model(run)) is type(localizer.method)
    assert str(cdtr.import_corrections(tmp_path / "boxes" / "coco.json", tmp_path / "boxes", run=run).run) == str(
        run.path
    )


def test_a_run_is_shown_with_the_charts_of_its_training(run: RunFolder, source: DataSource, tmp_path: Path) -> None:
    folder = tmp_path / "<b>run"
    folder.mkdir()
    for file in (run.config_file, run.classes_file):
        (folder / file.name).write_bytes(file.read_bytes())
    shown = cdtr.Run(folder, source)
    assert "<td>images, train</td><td>48</td>" in shown._repr_html_()
    assert "<img " not in shown._repr_html_(), "nothing is logged"
    record = {"step": 3, "epoch": 0, "terms": {"total": 1.5, "cls": 1.5}, "lambdas": {}}
    epoch = record | {"kind": "epoch", "held_out": {"top1_cls": 50.0, "top5_cls": 75.0}}
    shown.metrics_file.write_text(json.dumps(epoch) + "\n")
    html = shown._repr_html_()
    assert "<td>top1_cls (%)</td><td>50.0</td>" in html
    assert 'src="data:image/svg+xml;base64,' in html
    assert "<b>" not in html


def test_a_data_set_is_shown_by_its_numbers(source: DataSource) -> None:
    assert repr(source) == f"DataSource({source.root}: synthetic, 8 classes, 48 train, 16 val images)"


def test_an_image_that_cannot_be_read_is_warned_of_without_a_reporter(run: RunFolder, tmp_path: Path) -> None:
    source = generate(tmp_path / "data", 8, 8, seed=0)
    sample = source.splits["val"][0]
    sample.path.write_bytes(sample.path.read_bytes()[:300])
    with pytest.warns(UserWarning, match=f"^left out {sample.image_id}: ") as warned:
        scores = cdtr.evaluate(run, source, threshold=0.3, device="cpu", store=False)
    assert scores.evaluations[0].n_images == len(source.splits["val"]) - 1
    assert scores.to_json()["n_left_out"] == 1
    assert scores.evaluations[0].notes[-1:] == ("1 images are left out, as they cannot be read",)
    assert {one.filename for one in warned if str(one.message).startswith("left out")} == {__file__}
    recorder = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cdtr.evaluate(run, source, threshold=0.3, device="cpu", store=False, reporter=recorder)
    assert any(note.startswith(f"warning: left out {sample.image_id}: ") for note in recorder.notes)
