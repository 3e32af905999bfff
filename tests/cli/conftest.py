"""A tiny run, on real images where there are some, that the tests of the command line share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_helpers import copy_neu, draw_neu, run_cdtr, tiny_settings

REAL_NEU = Path(__file__).resolve().parents[3] / "shared" / "data" / "neu-det"


@pytest.fixture(scope="session")
def real_neu() -> Path | None:
    """The real NEU-DET, where it is at hand."""
    return REAL_NEU if REAL_NEU.is_dir() else None


@pytest.fixture(scope="session")
def neu(real_neu: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """66 images in NEU-DET's layout: the real ones, or drawn ones on machines that lack those."""
    target = tmp_path_factory.mktemp("neu") / "NEU-DET"
    return draw_neu(target) if real_neu is None else copy_neu(real_neu, target)


@pytest.fixture(scope="session")
def trained(neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run folder that `cdtr train` and `cdtr calibrate` wrote, and what the training printed."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    done = run_cdtr("train", neu, "--out", run, "--config", "small", *tiny_settings())
    assert done.returncode == 0, done.stderr
    return run, done.stdout


@pytest.fixture(scope="session")
def tiny_run(trained: tuple[Path, str]) -> Path:
    return trained[0]


@pytest.fixture
def uncalibrated(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the run without the threshold that training chose."""
    run = Path(shutil.copytree(tiny_run, tmp_path / "uncalibrated"))
    (run / "calibration.json").unlink()
    return run


@pytest.fixture(scope="session")
def calibrated(tiny_run: Path, neu: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the run with a calibration, and what `cdtr calibrate` printed."""
    run = tmp_path_factory.mktemp("runs") / "calibrated"
    shutil.copytree(tiny_run, run)
    done = run_cdtr("calibrate", run, "--data", neu)
    assert done.returncode == 0, done.stderr
    return run, done.stdout
