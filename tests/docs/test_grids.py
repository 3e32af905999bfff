"""The files in benchmarks/grids, which docs/benchmarks.md names, are grids and settings that can be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cdtr.config import Config, load_ablation, load_bench, load_config, read_tree
from cdtr.model.methods import method_names, with_switches
from cdtr.reports.ablation_table import check_metrics

GRIDS = Path(__file__).resolve().parents[2] / "benchmarks/grids"
BENCHES = [path for path in sorted(GRIDS.glob("*.yaml")) if "\ndata:\n  " in path.read_text("utf-8")]  # several sets
FILES = [path for path in sorted(GRIDS.glob("*.yaml")) if path not in BENCHES]
COMPARED = [path for path in FILES if "\nrows:" in path.read_text("utf-8")]
FIVE_SEEDS = {"neu-det", "cub-50", "cub-50-start", "synthetic"}  # a training takes less than ten minutes of a core


def rows_of(path: Path) -> dict[str, Config]:
    return {name: with_switches(config) for name, config in load_ablation(path)[1].items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_can_be_read(path: Path) -> None:
    configs = rows_of(path).values() if path in COMPARED else [load_config(str(path))]
    for config in configs:
        with_switches(config)


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_every_row_of_a_bench_whose_method_is_here_fits(path: Path, tmp_path: Path) -> None:
    tree = read_tree(path)
    here = {row: changes for row, changes in tree["rows"].items() if changes["method"] in method_names()}
    assert {"tscam", "catr", "cdtr"} <= set(here)
    known = tmp_path / path.name
    known.write_text(yaml.safe_dump({**tree, "rows": here}, sort_keys=False))
    bench, parts = load_bench(known)
    check_metrics(bench.metrics)
    assert set(parts) == set(tree["data"])
    for part in parts.values():
        assert [with_switches(config).method for config in part.configs.values()] == [
            changes["method"] for changes in here.values()
        ]


def test_there_are_grids() -> None:
    assert len(FILES) > 5
    assert BENCHES
    assert len(COMPARED) > 5


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_cdtr_stands_beside_catr_and_a_ts_cam_that_is_given_the_same_prior(path: Path) -> None:
    """Without them a gain over TS-CAM says as little of CSM and OCM as of the prior, and none of SKI and SBA."""
    rows = rows_of(path).values()
    guided = [row for row in rows if row.method == "cdtr" and row.ocm.prior != "none"]
    catr = {row.backbone.weights for row in rows if row.method == "catr"}
    given = {row.guide.attention for row in rows if row.method == "tscam" and row.guide.enabled}
    assert {row.backbone.weights for row in guided} <= catr
    assert given & {row.ocm.prior for row in guided}


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_metrics_and_seeds(path: Path) -> None:
    grid, _ = load_ablation(path)
    check_metrics(grid.metrics)
    assert {"max_box_acc_v2", "mean_iou"} <= set(grid.metrics)
    assert len(grid.seeds) == (5 if path.stem in FIVE_SEEDS else 3)
