"""The prior of a tiny run measured by itself, and its grid collected with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import TINY, draw_neu, run_cdtr

from cdtr.config import load_config
from results_csv import read_lines

PROJECT = Path(__file__).resolve().parents[2]
GRID = """config: tiny.yaml
seeds: [0]
rows:
  catr: {method: catr}
  plain: {method: tscam, guide: {enabled: false}}
"""


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "benchmarks" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def neu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_neu(tmp_path_factory.mktemp("neu") / "NEU-DET")


@pytest.fixture(scope="module")
def out(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid of a run with a guide and one without, and the prior of the former."""
    folder = tmp_path_factory.mktemp("grid")
    settings = [setting for setting in TINY if not setting.startswith("method=")]
    (folder / "tiny.yaml").write_text(load_config("small", settings).to_yaml(), encoding="utf-8")
    (folder / "grid.yaml").write_text(GRID, encoding="utf-8")
    done = run_cdtr("ablate", folder / "grid.yaml", "--data", neu, "--out", folder / "out", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    done = run_script("prior_alone.py", folder / "out/runs/catr-0", "--data", neu, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_the_prior_is_measured_as_the_run_is(out: Path) -> None:
    prior, run = (read(out / "runs/catr-0" / name) for name in ("prior.json", "evaluation.json"))
    for key in ("protocol", "split", "n_images", "n_annotated", "threshold_source", "baselines"):
        assert prior[key] == run[key], key
    assert prior["metrics"]["top1_cls"] == run["metrics"]["top1_cls"], "the classes are the run's"
    assert prior["method"] == "prior border"
    assert prior["curves"]["largest_contour"] != run["curves"]["largest_contour"], "the maps are not"


def test_a_run_without_a_guide_is_refused_in_a_line(out: Path, neu: Path) -> None:
    done = run_script("prior_alone.py", out / "runs/plain-0", "--data", neu)
    assert done.returncode == 2
    assert "without a guide" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (out / "runs/plain-0/prior.json").exists()


def test_its_threshold_is_not_chosen_on_the_images_that_it_is_measured_on(out: Path, neu: Path) -> None:
    done = run_script("prior_alone.py", out / "runs/catr-0", "--data", neu, "--split", "held-out")
    assert done.returncode == 2
    assert "choose another --split" in done.stderr


def test_the_grid_is_collected_with_it(out: Path, tmp_path: Path) -> None:
    csv = tmp_path / "neu.csv"
    done = run_script("collect_results.py", out, "--csv", csv, "--data", "NEU-DET", "--machine", "a test")
    assert done.returncode == 0, done.stderr
    lines = {line["row"]: line for line in read_lines(csv)}
    assert {row: (line["recipe"], line["method"]) for row, line in lines.items()} == {
        "catr": ("small", "catr"),
        "plain": ("paper", "tscam"),
        "prior": ("small", "prior border"),
    }
    run = read(out / "runs/catr-0/evaluation.json")
    assert lines["catr"]["gt_known_loc"] == f"{run['metrics']['gt_known_loc']:.3f}"
    assert lines["catr"]["oracle_gt_known_loc"] == f"{run['oracle']['gt_known_loc']:.3f}"
    assert float(lines["catr"]["gt_known_loc_iou30"]) >= float(lines["catr"]["gt_known_loc"])
    assert lines["catr"]["machine"].startswith("a test, torch ")
    assert str(out) not in csv.read_text(encoding="utf-8")
