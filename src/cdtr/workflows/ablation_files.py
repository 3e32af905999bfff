"""The files of a grid of trainings: its settings, which later calls must have too, and the result of each run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdtr.config import Ablation, Config, parse_config
from cdtr.errors import ConfigError
from cdtr.workflows.grid import RESULT_FILE, check_settled, check_starts
from cdtr.workflows.opening import HELD_OUT


def settle_files(
    plan: Ablation,
    configs: Mapping[str, Config],
    root: Path,
    out: Path,
    calibration: str | None,
    evaluate: Sequence[str] = (),
) -> dict[Path, str]:
    """Return the files that describe the runs of a grid.

    Args:
        plan: the grid.
        configs: the settings of each row, as they were asked for.
        root: the data set.
        out: the folder of everything.
        calibration: the split to choose thresholds on.
        evaluate: further options of `cdtr evaluate`.

    Returns:
        The text of each file.

    Raises:
        ConfigError: a file is there with other settings. Runs that are done are not trained again, so they must not be
            listed under new settings.
    """
    about: dict[str, Any] = {"data": str(root), "split": plan.split, "small_clip": plan.small_clip}
    if calibration != HELD_OUT:
        about["calibration"] = calibration
    if evaluate:
        about["evaluate"] = list(evaluate)
    files = {out / "grid.json": json.dumps(about, indent=2) + "\n"}
    files |= {out / "configs" / f"{name}.yaml": config.to_yaml() for name, config in configs.items()}
    changed = [(path, text) for path, text in files.items() if not _same_settings(path, text)]
    check_settled(changed, f"the grid has now: choose another `out=`, or remove {out} to train and measure anew")
    check_starts((result_file(out, row, seed).parent, config) for row, config in configs.items() for seed in plan.seeds)
    return files


def _same_settings(path: Path, text: str) -> bool:
    """Whether a configuration file has the settings of ``text``, but for the name of the recipe.

    An older file has no recipe, and lacks settings that were added later.
    """
    if path.suffix != ".yaml" or not path.is_file():
        return False
    try:
        before = parse_config(path.read_text(encoding="utf-8"), str(path))
    except (ConfigError, UnicodeDecodeError):
        return False
    now = parse_config(text, str(path))
    return before.updated(recipe=now.recipe) == now


def result_file(out: Path, row: str, seed: int) -> Path:
    """Return the file of a run's evaluation, in its folder."""
    return out / "runs" / f"{row}-{seed}" / RESULT_FILE
