"""The cost of a bench's rows: of all in one run, kept as long as rows and machine are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cdtr.config import Config, load_config
from cdtr.errors import ConfigError
from cdtr.model.methods import build_method
from cdtr.workflows import bench_costs
from cdtr.workflows.bench_costs import check_methods, measure_rows
from cdtr.workflows.reporting import SILENT

TINY = (
    "sba.enabled=false",
    "data.input_size=[32, 32]",
    "data.resize=[36, 36]",
    "ocm.k=2",
    "csm.g=3",
    "backbone.overrides={patch_size: 8, embed_dim: 48, depth: 2, num_heads: 2}",
)
CLASSES = 3


def config(*more: str) -> Config:
    return load_config("small", [*TINY, *more])


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The rows of every measurement, of which each has two rounds of one image."""
    calls: list[list[str]] = []
    measure = bench_costs._measure

    def count(configs: dict[str, Config], classes: int, device: Any) -> Any:
        calls.append(list(configs))
        return measure(configs, classes, device)

    monkeypatch.setattr(bench_costs, "_measure", count)
    monkeypatch.setattr(bench_costs, "ROUNDS", 2)
    monkeypatch.setattr(bench_costs, "IMAGES", 1)
    return calls


def test_costs_are_kept_and_all_rows_are_timed_anew_with_another_row(tmp_path: Path, measured: list[list[str]]) -> None:
    kept, rows = tmp_path / "costs.json", {"tscam": config("method=tscam"), "cdtr": config("method=cdtr")}
    costs, machine = measure_rows(rows, CLASSES, kept, SILENT)
    assert measure_rows(rows, CLASSES, kept, SILENT) == (costs, machine)
    assert measured == [["tscam", "cdtr"]]
    measure_rows({**rows, "catr": config("method=catr")}, CLASSES, kept, SILENT)
    assert measured[1] == ["tscam", "cdtr", "catr"]
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "machine": "another"}))
    measure_rows(rows, CLASSES, kept, SILENT)
    kept.write_text("half writ")
    measure_rows(rows, CLASSES, kept, SILENT)
    assert len(measured) == 4


@pytest.mark.usefixtures("measured")
def test_parameters_in_inference_are_without_the_guide_which_is_trained(tmp_path: Path) -> None:
    rows = {"guided": config("method=tscam"), "alone": config("method=tscam", "guide.enabled=false", "ocm.prior=none")}
    rows["frozen"] = rows["alone"].updated(backbone={"frozen": True, "weights": "hub"})
    costs, _ = measure_rows(rows, CLASSES, tmp_path / "costs.json", SILENT)
    alone = build_method(rows["alone"], CLASSES, load_weights=False)
    count = sum(one.numel() for one in alone.parameters())
    backbone = sum(one.numel() for one in alone.backbone.parameters())
    assert costs["guided"].parameters == costs["alone"].parameters == count
    assert costs["guided"].trained_parameters > costs["alone"].trained_parameters == count
    assert costs["frozen"].trained_parameters == count - backbone
    assert costs["alone"].memory_mib > 4 * count / 2**20


def test_a_method_that_does_not_fit_is_named_with_its_row() -> None:
    with pytest.raises(ConfigError, match=r"^bench, row 'many': ocm.k = 99"):
        check_methods({"fits": config(), "many": config("ocm.k=99")}, CLASSES, "bench")
