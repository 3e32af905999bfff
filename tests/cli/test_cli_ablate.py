"""A grid of trainings through the command line: measured, resumed, and refused where it cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cli_helpers import TINY, in_process, run_cdtr

from cdtr.config import Ablation, load_config
from cdtr.errors import ConfigError
from cdtr.workflows.ablation_files import settle_files


@pytest.fixture
def grid(neu: Path, tmp_path: Path) -> Path:
    """Two rows of the tiny training, one of them with settings that fail."""
    (tmp_path / "tiny.yaml").write_text(load_config("small", TINY).to_yaml())
    rows = {"plain": {"method": "tscam"}, "no such size": {"ocm": {"k": 99}}, "whole": {"ski": {"enabled": False}}}
    plan = {
        "data": str(neu),
        "config": "tiny.yaml",
        "seeds": [3],
        "rows": rows,
        "metrics": ["gt_known_loc", "top1_cls"],
    }
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


def test_a_grid_is_trained_and_goes_on_after_a_failure(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cdtr("ablate", grid, "--out", out, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("to do") == 3, done.stderr
    assert not out.exists(), done.stderr
    done = run_cdtr("ablate", grid, "--out", out)
    assert done.returncode == 1
    assert "1 of 3 runs failed, no such size, seed 3 with: error: ocm.k = 99" in done.stderr
    table = json.loads((out / "table.json").read_text())
    assert list(table["scores"]) == ["plain", "whole"]
    measured = {row: json.loads((out / "runs" / f"{row}-3" / "evaluation.json").read_text()) for row in table["scores"]}
    for row, result in measured.items():
        assert table["scores"][row]["gt_known_loc"]["values"] == [result["metrics"]["gt_known_loc"]]
    change = measured["whole"]["metrics"]["top1_cls"] - measured["plain"]["metrics"]["top1_cls"]
    assert table["differences"]["whole"]["top1_cls"]["mean"] == pytest.approx(change)
    assert table["differences"]["plain"]["top1_cls"] is None
    assert "centred box*" in (out / "table.md").read_text()

    written = (out / "runs" / "plain-3" / "evaluation.json").stat().st_mtime_ns
    plan = yaml.safe_load(grid.read_text())
    grid.write_text(yaml.safe_dump({**plan, "rows": {"plain": plan["rows"]["plain"], "whole": plan["rows"]["whole"]}}))
    done = run_cdtr("ablate", grid, "--out", out)
    assert done.returncode == 0, done.stderr
    assert (out / "runs" / "plain-3" / "evaluation.json").stat().st_mtime_ns == written, "what is done is kept"

    plan = yaml.safe_load(grid.read_text())
    grid.write_text(yaml.safe_dump({**plan, "rows": {"plain": {"method": "catr"}}}))
    done = run_cdtr("ablate", grid, "--out", out)
    assert done.returncode == 2, done.stderr
    assert "plain.yaml has other settings than the grid has now" in done.stderr
    grid.write_text(yaml.safe_dump({**plan, "split": "train"}))
    done = run_cdtr("ablate", grid, "--out", out)
    assert done.returncode == 2, done.stderr
    assert "grid.json has other settings" in done.stderr


def test_a_grid_from_before_recipes_had_names_goes_on(tmp_path: Path) -> None:
    configs = {"a": load_config("small")}
    plan = Ablation(rows={"a": {}})
    settled = settle_files(plan, configs, tmp_path, tmp_path / "out", "held-out")
    for path, text in settled.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("recipe: small\n", ""))
    assert settle_files(plan, configs, tmp_path, tmp_path / "out", "held-out") == settled
    for change in ("train.lr=0.5", "guide.weight=2"):
        with pytest.raises(ConfigError, match=r"a\.yaml has other settings"):
            settle_files(plan, {"a": load_config("small", [change])}, tmp_path, tmp_path / "out", "held-out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {"a": {"ocn": {"k": 2}}}}, "unknown key 'ocn', did you mean 'ocm'"),
        ({"rows": {"a/b": {}}}, "names that a folder may have"),
        ({"rows": {"a": {"seed": 3}}}, "row 'a' sets the seed"),
        ({"rows": {}}, "expected one or more rows"),
        ({"rows": {"a": {"method": "ctdr"}}}, "did you mean 'cdtr'"),
        ({"rows": {"a": {"csm": {"enabled": False}}}}, "ski.enabled needs csm.enabled"),
        ({"rows": {"a": {"guide": {"enabled": False}}}}, "ocm.prior border needs guide.enabled"),
        (
            {"rows": {"a": {"method": "tscam", "guide": {"enabled": False, "attention": "border"}}}},
            "guide.attention border needs guide.enabled",
        ),
        ({"rows": {"a": {"evaluation": {"protocol": "nope"}}}}, "unknown protocol 'nope'"),
        ({"rows": {"a": {}, "b": {"evaluation": {"protocol": "sat"}}}}, "several protocols"),
        ({"rows": {"a": {}, "b": {"data": {"holdout": 0.5}}}, "small_clip": True}, "one CLIP for all"),
        ({"rows": {"a": {}, "b": {"data": {"deduplicate": True}}}, "small_clip": True}, "another data.deduplicate"),
        ({"split": "tset"}, "no split 'tset', choose one of"),
        ({"split": "held-out"}, "thresholds are chosen on held-out training images: score another split"),
        ({"rows": {"a": {}, "b": {"data": {"holdout": 0}}}}, "set data.holdout above 0"),
        ({"seeds": [1, 1]}, "different numbers"),
        ({"base": "c"}, "base = 'c' is no row"),
        ({"metrics": ["gt_konwn_loc"]}, "unknown metric 'gt_konwn_loc'"),
        ({"data": "nowhere"}, "nowhere"),
        ({"datta": "x"}, "unknown key 'datta', did you mean 'data'"),
    ],
    ids=[
        "typo",
        "name",
        "seed",
        "no row",
        "method",
        "ski",
        "prior",
        "guide",
        "protocol",
        "protocols",
        "clip",
        "copies",
        "split",
        "held-out",
        "none held out",
        "seeds",
        "base",
        "metric",
        "data",
        "key",
    ],
)
def test_a_grid_that_cannot_work_is_refused_before_any_training(
    change: dict[str, object], message: str, grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid.write_text(yaml.safe_dump({**yaml.safe_load(grid.read_text()), **change}))
    code, _, err = in_process(capsys, "ablate", grid, "--out", tmp_path / "out")
    assert code == 2, err
    assert message in err
    assert not (tmp_path / "out").exists(), err


def test_a_start_that_was_pretrained_anew_is_another_one(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, out = tmp_path / "start.safetensors", tmp_path / "out"
    rows = {"scratch": {}, "started": {"backbone": {"weights": str(start)}}}
    grid.write_text(yaml.safe_dump({**yaml.safe_load(grid.read_text()), "rows": rows}))
    assert in_process(capsys, "ablate", grid, "--out", out, "--dry-run")[0] == 0
    start.write_bytes(b"pretrained later")
    assert in_process(capsys, "ablate", grid, "--out", out, "--dry-run")[0] == 0, "what was done before is kept"
    run = out / "runs" / "started-3"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"started_from": {"file": str(start), "sha256": "another"}}))
    code, _, err = in_process(capsys, "ablate", grid, "--out", out, "--dry-run")
    assert code == 2, err
    assert "started-3 started from another" in err
    start.unlink()
    assert in_process(capsys, "ablate", grid, "--out", out, "--dry-run")[0] == 0


def test_rows_and_seeds_can_be_chosen(grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what is asked for is run, and an unknown name is refused with the choices."""
    plan = yaml.safe_load(grid.read_text())
    grid.write_text(yaml.safe_dump({**plan, "seeds": [3, 4]}, sort_keys=False))
    asked = "ablate", grid, "--out", tmp_path / "out", "--dry-run"
    code, listed, _ = in_process(capsys, *asked, "--rows", "whole, plain", "--seeds", "4")
    assert code == 0
    assert listed.splitlines() == ["to do  whole, seed 4", "to do  plain, seed 4"]
    for option, given, known in (("--rows", "nobody", "plain"), ("--seeds", "99", "3, 4"), ("--rows", ",", "plain")):
        code, _, error = in_process(capsys, *asked, option, given)
        assert code == 2
        assert f"{option} '{given}': " in error
        assert f"choose from {known}" in error
