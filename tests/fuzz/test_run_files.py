"""Every file of a run, damaged: it is read, or refused with one line that names it; nothing else happens.

`CDTR_FUZZ_SECONDS=600` goes on for so many seconds a file.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from run_mutations import damaged_json, damaged_text, damaged_tree, seeds

from cdtr.api import choose_threshold, choose_view, protocol_threshold
from cdtr.api.thresholds import box_quality
from cdtr.config import Config
from cdtr.deployment.facts import Facts, run_facts
from cdtr.errors import CdtrError
from cdtr.evaluation import find_protocol
from cdtr.hub import _public_manifest
from cdtr.localization.quality import FEATURES, BoxQuality
from cdtr.model.methods import with_switches
from cdtr.records import DataSource
from cdtr.reports import curves
from cdtr.reports import run_facts as report_facts
from cdtr.reports.charts import threshold_charts
from cdtr.reports.model_card import model_card
from cdtr.reports.report_page import _stored
from cdtr.runs import RunFolder
from cdtr.threshold import Threshold
from cdtr.training.prepare import _check_same
from cdtr.training.state import saved_state
from cdtr.workflows.describe import describe
from cdtr.workflows.evaluate import count_leaks

SHA256 = "0" * 64
SPLIT = {"images": 12, "sha256": SHA256}
CONFIG = with_switches(Config().updated(sba={"enabled": False}))
MANIFEST: dict[str, Any] = {
    "versions": {"python": "3.11.7", "cdtr": "0.1.0", "torch": "2.14.1", "timm": "1.0.31"},
    "git_revision": "ee65aa3",
    "recipe": "small",
    "seed": 0,
    "data": {"format": "folder", "classes": 2, "root": "data/photos", "image_hw": [30, 40]},
    "splits": {"fit": SPLIT, "held_out": SPLIT},
    "started_from": {"file": "w.safetensors", "sha256": SHA256, "notes": {"pretrained_on": "x"}, "input_size": [8, 8]},
    "clip_fit": {"images": 3, "fit": 0.5, "zero_shot": 0.7},
    "imported": {"file": "w.pth", "sha256": SHA256, "model": "CDTR", "bytes": 3},
    "requested_config": CONFIG.to_yaml(),
    "broken_images": {"a.jpg": "is empty"},
    "resumed_with": [{"step": 4, "settings": {"train.lr": 1e-4}}],
}
TERMS = {"cls": 0.7, "csm": 0.6, "ocm_suppress": 0.1, "total": 1.4}
LAMBDAS = {"cls": 1.0, "csm": 0.99}
STEP = {"kind": "step", "step": 1, "epoch": 0, "terms": TERMS, "lambdas": LAMBDAS, "lr": 1e-3}
EPOCH = {
    "kind": "epoch",
    "step": 2,
    "epoch": 0,
    "terms": TERMS,
    "lambdas": LAMBDAS,
    "held_out": {"top1_cls": 50.0, "top5_cls": 100.0},
    "attention": {"class_map": 0.3},
}
LOG = (STEP, EPOCH, {**STEP, "step": 3, "epoch": 1}, {**EPOCH, "step": 4, "epoch": 1})
SCORES = {
    "scores": [
        {
            "data": "folder",
            "split": "val",
            "protocol": "wsol",
            "recipe": "small",
            "view": "whole",
            "n_images": 5,
            "threshold": 0.4,
            "threshold_source": "given",
            "metrics": {"gt_known_loc": 50.0, "top1_loc": None, "top1_cls": 70.0},
            "intervals": {"gt_known_loc": [40.0, 60.0], "top1_loc": None},
            "baselines": {"full_image": {"gt_known_loc": 20.0}, "centre_box": None},
        }
    ]
}
QUALITY = BoxQuality(
    FEATURES, (0.0,) * len(FEATURES), (1.0,) * len(FEATURES), (1.0,) * len(FEATURES), (0.0, 0.0), 0.0, 50, 0.5
)
CALIBRATION = {
    "source": "held-out training images",
    "view": "whole",
    "threshold": 0.4,
    "gt_known_loc": 60.0,
    "n_images": 12,
    "curve": [[0.1, 20.0], [0.4, 60.0]],
    "by_protocol": {"cdtr": {"threshold": 0.3, "gt_known_loc": 1.0, "view": "whole"}},
    "box_scores": QUALITY.to_json(),
    "contents": [SHA256],
    "map_span": 0.03,
}
POSITION = {"epoch": 1, "step_in_epoch": 0, "step": 2, "sums": {"cls": 0.5}}
STATE = {"folder": "step-00000002", "processes": 1, "position": POSITION}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Sound files; the weights are not looked at."""
    monkeypatch.setattr("cdtr.workflows.describe.load_model", lambda _path: torch.nn.Linear(1, 1))
    found = RunFolder(tmp_path / "run")
    (found.state / "step-00000002").mkdir(parents=True)
    found.weights.write_bytes(b"")
    found.config_file.write_text(CONFIG.to_yaml())
    found.classes_file.write_text("ant\nbee\n")
    found.manifest_file.write_text(json.dumps(MANIFEST))
    found.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in (STEP, EPOCH)))
    found.scores_file.write_text(json.dumps(SCORES))
    found.calibration_file.write_text(json.dumps(CALIBRATION))
    (found.state / "latest.json").write_text(json.dumps(STATE))
    (found.state / "step-00000002" / "contents.json").write_text(json.dumps({**STATE, "files": {}}))
    return found


Read = Callable[[RunFolder], object]
SOURCE = DataSource("folder", Path("data"), ("ant", "bee"), {}, False, lambda _sample: None)

MANIFEST_READERS: tuple[Read, ...] = (
    lambda run: list(describe(run).lines()),
    report_facts.data_facts,
    lambda run: report_facts.model_facts(run, 3),
    report_facts.training_facts,
    report_facts.version_facts,
    report_facts.modules,
    lambda run: model_card(run, Threshold(0.4), "t"),
    _public_manifest,
    lambda run: run_facts(run, Threshold(0.4)),
    lambda run: _check_same(run, CONFIG, SOURCE, {"fit": (), "held_out": ()}),
)
LOG_READERS: tuple[Read, ...] = (curves.last_likeness, curves.training_charts, lambda run: run.drop_log_after(10**6))
SCORES_READERS: tuple[Read, ...] = (
    lambda run: model_card(run, Threshold(0.4), "t"),
    lambda run: _stored(run, None),
    lambda run: run.add_scores([{"data": "folder", "split": "val", "protocol": "sat"}]),
)
CALIBRATION_READERS: tuple[Read, ...] = (
    choose_threshold,
    choose_view,
    lambda run: protocol_threshold(run, find_protocol("cdtr"), "folder"),
    box_quality,
    lambda run: count_leaks(run, ()),
    lambda run: threshold_charts(None, run.calibration()),
    lambda run: run_facts(run, Threshold(0.4)).box_quality(),
)


def must_be_understood_or_refused(run: RunFolder, readers: tuple[Read, ...], file: Path, seed: int) -> None:
    content = file.read_bytes()
    for number, read in enumerate(readers):
        try:
            read(run)
        except CdtrError as error:
            line = str(error)
            assert line.encode("utf-8"), "can be printed"
            assert len(line) < 2000, f"seed {seed}, reader {number}: {line[:300]}"
        except Exception as error:
            raise AssertionError(f"seed {seed}, reader {number}: {content[:600]!r}") from error


def test_the_files_are_sound_to_begin_with(run: RunFolder) -> None:
    assert saved_state(run) is not None
    for read in (*MANIFEST_READERS[:-1], *LOG_READERS, *SCORES_READERS, *CALIBRATION_READERS):
        read(run)
    assert len(run.log("step")) == len(run.log("epoch")) == 1
    assert len(run.scores()) == 2


@pytest.mark.parametrize(
    ("name", "tree", "readers", "count"),
    [
        ("manifest.json", MANIFEST, MANIFEST_READERS, 40),
        ("scores.json", SCORES, SCORES_READERS, 200),
        ("calibration.json", CALIBRATION, CALIBRATION_READERS, 40),
        ("state/latest.json", STATE, (saved_state,), 150),
        ("state/step-00000002/contents.json", {**STATE, "files": {"a": SHA256}}, (saved_state,), 150),
    ],
    ids=["manifest", "scores", "calibration", "pointer", "contents of a state"],
)
def test_json_files(run: RunFolder, name: str, tree: Any, readers: tuple[Read, ...], count: int) -> None:
    file = run.path / name
    for seed in seeds(count):
        file.write_bytes(damaged_json(tree, random.Random(seed)))
        must_be_understood_or_refused(run, readers, file, seed)


def test_the_log(run: RunFolder) -> None:
    for seed in seeds(12):
        chance = random.Random(seed)
        lines = [damaged_json(line, chance) if chance.random() < 0.6 else json.dumps(line).encode() for line in LOG]
        run.metrics_file.write_bytes(b"\n".join(lines))
        must_be_understood_or_refused(run, LOG_READERS, run.metrics_file, seed)


def test_the_classes(run: RunFolder) -> None:
    for seed in seeds(200):
        run.classes_file.write_bytes(damaged_text("ant\nØrsted bee\n軍艦鳥\n", random.Random(seed)))
        must_be_understood_or_refused(run, (RunFolder.class_names,), run.classes_file, seed)


def test_the_settings(run: RunFolder) -> None:
    tree = yaml.safe_load(CONFIG.to_yaml())
    for seed in seeds(60):
        text = yaml.safe_dump(damaged_tree(tree, random.Random(seed)))
        run.config_file.write_bytes(text.encode("utf-8", "surrogatepass"))
        must_be_understood_or_refused(run, (RunFolder.config,), run.config_file, seed)


def test_the_metadata_of_an_exported_file(run: RunFolder, tmp_path: Path) -> None:
    tree = json.loads(run_facts(run, Threshold(0.4)).to_json())
    file = tmp_path / "metadata.json"
    for seed in seeds(150):
        file.write_bytes(damaged_json(tree, random.Random(seed)))
        text = file.read_text(encoding="utf-8", errors="replace")
        reader = (lambda _run, text=text: Facts.from_json(text, "m.onnx"),)
        must_be_understood_or_refused(run, reader, file, seed)
