"""The files in benchmarks/grids, which docs/benchmarks.md names, are grids and settings that can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdtr.config import load_ablation, load_config
from cdtr.model.methods import with_switches

GRIDS = Path(__file__).resolve().parents[2] / "benchmarks/grids"
FILES = sorted(GRIDS.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_can_be_read(path: Path) -> None:
    configs = load_ablation(path)[1].values() if "\nrows:" in path.read_text("utf-8") else [load_config(str(path))]
    for config in configs:
        with_switches(config)


def test_there_are_grids() -> None:
    assert len(FILES) > 5
