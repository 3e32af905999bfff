"""A grid of trainings in one YAML file, for `cdtr ablate`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from cdtr.config.checking import Section, checked_section
from cdtr.config.loading import load_config, read_tree
from cdtr.config.sections import Config
from cdtr.errors import ConfigError

# A small CLIP has its own input size and never sees a box.
_SEEN_BY_CLIP = ("data.holdout", "data.format", "data.deduplicate", "sba.templates")  # images, and words for them
_WITHOUT_EFFECT_ON_CLIP = ("input_size", "resize", "workers", "boxes", "unboxed_classes", "empty_classes")


class Ablation(Section):
    """Rows of settings, each trained with every seed.

    data, config: paths are relative to the grid's file; those in rows are seen from where the command is called.
    rows: name -> settings that differ from ``config``, as nested keys. base: the row that the others are compared with,
    by default the first. small_clip: train one small CLIP a seed from the same labels, and give it to ``sba.model``.
    """

    data: str | None = None
    config: str = "small"
    seeds: tuple[int, ...] = (0, 1, 2)
    rows: dict[str, dict[str, Any]]
    base: str | None = None
    small_clip: bool = False
    split: str | None = None
    metrics: tuple[str, ...] = Field(("top1_loc", "gt_known_loc", "gt_known_loc_iou70", "top1_cls"), min_length=1)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("expected one or more different numbers from 0 up, such as [0, 1, 2]")
        return seeds

    @field_validator("rows")
    @classmethod
    def _named(cls, rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        bad = [name for name in rows if not name.strip() or set(name) & set('/\\:*?"<>|') or name.startswith(".")]
        if not rows or bad:
            raise ValueError(f"expected one or more rows with names that a folder may have, found {bad or 'none'}")
        return rows


def load_ablation(path: Path) -> tuple[Ablation, dict[str, Config]]:
    """The grid and the resolved settings of each row; ConfigError for an unknown key or a value that does not fit."""
    grid = checked_section(read_tree(path), Ablation, str(path))
    return grid, row_configs(grid, path)


def row_configs(grid: Ablation, path: Path, sources: Mapping[str, str] | None = None) -> dict[str, Config]:
    """Read and check the settings of each row.

    Args:
        grid: The grid.
        path: Its file, to which paths are relative, for messages too.
        sources: Row -> a preset or file in place of ``grid.config``.

    Returns:
        The settings by row.

    Raises:
        ConfigError: An unknown key, a value that does not fit, or rows that cannot stand in one table.
    """
    if grid.base is not None and grid.base not in grid.rows:
        raise ConfigError(f"{path}: base = {grid.base!r} is no row: choose one of {', '.join(grid.rows)}")
    configs = {}
    for name, changes in grid.rows.items():
        if "seed" in changes:
            raise ConfigError(f"{path}: row {name!r} sets the seed: list the seeds of all rows under seeds")
        source = (sources or {}).get(name, grid.config)
        if Path(source).suffix in {".yaml", ".yml"}:
            source = str(path.parent / source)
        try:
            configs[name] = load_config(source, changes=changes)
        except ConfigError as error:
            raise ConfigError(f"{path}, row {name!r}: {error}") from error
    _check_alike(grid, configs, path)
    return configs


def _check_alike(grid: Ablation, configs: Mapping[str, Config], path: Path) -> None:
    """Refuse rows that are scored differently, or that hold out images which the CLIP of another row has seen."""
    first = next(iter(configs.values()))
    for name, config in configs.items():
        if config.evaluation.protocol != first.evaluation.protocol:
            raise ConfigError(f"{path}: rows of several protocols cannot stand in one table, see row {name!r}")
        mine, others = clip_settings(config), clip_settings(first)
        key = next((key for key in _SEEN_BY_CLIP if mine[key] != others[key]), None)
        if grid.small_clip and key is not None:
            raise ConfigError(
                f"{path}: row {name!r} has another {key} than the first, but small_clip trains one CLIP for all of "
                "them: give them grids of their own"
            )


def clip_settings(config: Config) -> dict[str, Any]:
    """Return the settings that a small CLIP trained for a run depends on, by name."""
    data = config.data.model_dump(mode="json", exclude=set(_WITHOUT_EFFECT_ON_CLIP))
    return {**{f"data.{key}": value for key, value in data.items()}, "sba.templates": list(config.sba.templates)}
