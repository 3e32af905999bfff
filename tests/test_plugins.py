"""Plug-ins are found by file name and through entry points, without importing them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cdtr.plugins import modules_of

GROUP = "cdtr.formats"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution of somebody else that has a module ``seeds_format`` and names it as ``seed-list``."""
    (tmp_path / "seeds_format.py").write_text('"""A format."""\n\nWEIGHT = 3\n\n\ndef open_writer(target):\n    ...\n')
    info = tmp_path / "seeds-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: seeds\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nseed-list = seeds_format\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "seeds_format", raising=False)
    return tmp_path


def test_modules_of_a_package_are_found_without_importing_it() -> None:
    code = (
        "import sys; from cdtr.plugins import modules_of; found = modules_of('cdtr.metrics', 'cdtr.none'); "
        "assert 'pxap' in found and not any(name.startswith('_') for name in found); "
        "assert not {'numpy', 'torch', 'cdtr.metrics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_entry_point_is_a_plug_in(installed: Path) -> None:
    found = modules_of("cdtr.metrics", GROUP)
    assert "seed_list" in found
    assert "seeds_format" not in sys.modules
    assert found["seed_list"]().WEIGHT == 3
    assert list(found) == sorted(found)


@pytest.mark.parametrize(("function", "there"), [("open_writer", True), ("read", False)])
def test_modules_are_chosen_by_the_function_that_they_define(installed: Path, function: str, there: bool) -> None:
    assert ("seed_list" in modules_of("cdtr.metrics", GROUP, function)) is there


def test_own_modules_win_over_entry_points(installed: Path) -> None:
    (installed / "seeds-1.0.dist-info" / "entry_points.txt").write_text(f"[{GROUP}]\npxap = seeds_format\n")
    assert modules_of("cdtr.metrics", GROUP)["pxap"]().__name__ == "cdtr.metrics.pxap"
