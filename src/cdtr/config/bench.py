"""Methods x data sets x seeds in one YAML file, for `cdtr bench`: one ``Ablation`` a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from cdtr.config.ablation import Ablation, row_configs
from cdtr.config.checking import Section, checked_section, merge
from cdtr.config.loading import read_tree
from cdtr.config.sections import Config
from cdtr.errors import ConfigError

_NO_NAME = set('/\\:*?"<>|=')
_TAKEN = "logs"  # a folder of every bench


class BenchReference(Section):
    """Maps or boxes from elsewhere, for a row that is scored and not trained.

    predictions: a folder of maps or a COCO file of boxes, as `cdtr score` takes them. threshold: of the maps; without
    it Top-1 and GT-known Loc are not measured.
    """

    predictions: str
    threshold: float | None = Field(None, ge=0, lt=1)


class BenchSet(Section):
    """A data set of a bench.

    path: of the data set; it may be given later. config: a preset or file for this set. settings: that differ from it,
    for all rows. small_clip, split: as of an ``Ablation``. references: rows from elsewhere.
    """

    path: str | None = None
    config: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    small_clip: bool = False
    split: str | None = None
    references: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Bench(Section):
    """Rows of settings, each trained with every seed on every data set.

    data: name -> path, or the keys of ``BenchSet``. config, base: as of an ``Ablation``. rows: name -> settings as of
    an ``Ablation``, and ``config``, a preset or file in place of that of the data set. metrics: the columns; the first
    one sorts. all_protocols: measure under every protocol, not the run's own alone.
    """

    data: dict[str, Any]
    config: str = "small"
    seeds: tuple[int, ...] = (0, 1, 2)
    rows: dict[str, dict[str, Any]]
    base: str | None = None
    metrics: tuple[str, ...] = ("gt_known_loc", "top1_loc", "top1_cls", "max_box_acc_v2", "pxap")
    all_protocols: bool = True


@dataclass(frozen=True, slots=True)
class BenchPart:
    """A bench on one of its data sets.

    Attributes:
        ablation: the same as a grid of its own.
        configs: the settings of each row.
        references: the rows from elsewhere, by name.
    """

    ablation: Ablation
    configs: Mapping[str, Config]
    references: Mapping[str, BenchReference]


def load_bench(path: Path) -> tuple[Bench, dict[str, BenchPart]]:
    """Read and check a bench.

    Args:
        path: A YAML file.

    Returns:
        The bench, and its parts by the name of the data set.

    Raises:
        ConfigError: An unknown key, or a value that does not fit.
    """
    bench = checked_section(read_tree(path), Bench, str(path))
    bad = [
        name
        for name in bench.data
        if not name.strip() or set(name) & _NO_NAME or name.startswith(".") or name == _TAKEN
    ]
    if not bench.data or bad:
        raise ConfigError(
            f"{path}: data: expected one or more sets with names that a folder may have, without = and not {_TAKEN}, "
            f"found {bad[0] if bad else 'none'}"
        )
    return bench, {name: _part(bench, given, path, f"{path}, data {name!r}") for name, given in bench.data.items()}


def _part(bench: Bench, given: Any, path: Path, origin: str) -> BenchPart:
    tree = {"path": given} if isinstance(given, str) or given is None else given
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{origin}: {given!r:.200}: expected a path, or keys such as path and config")
    one = checked_section(tree, BenchSet, origin)
    sources, rows = {}, {}
    for row, changes in bench.rows.items():
        source = changes.get("config")
        if source is not None and not isinstance(source, str):
            raise ConfigError(f"{path}, row {row!r}: config = {source!r:.200}: expected a preset or a YAML file")
        if source is not None:
            sources[row] = source
        rows[row] = merge(one.settings, {key: value for key, value in changes.items() if key != "config"})
    plan = {
        "data": one.path,
        "config": one.config or bench.config,
        "seeds": bench.seeds,
        "rows": rows,
        "base": bench.base,
        "small_clip": one.small_clip,
        "split": one.split,
        "metrics": bench.metrics,
    }
    ablation = checked_section(plan, Ablation, str(path))
    references = {
        name: checked_section(tree, BenchReference, f"{origin}, reference {name!r}")
        for name, tree in one.references.items()
    }
    bad = next(
        (name for name in references if name in bench.rows or set(name) & _NO_NAME or name.startswith(".")), None
    )
    if bad is not None:
        raise ConfigError(f"{origin}: reference {bad!r}: expected a name that a file may have and that no row has")
    return BenchPart(ablation, _configs(ablation, path, sources, origin), references)


def _configs(ablation: Ablation, path: Path, sources: Mapping[str, str], origin: str) -> dict[str, Config]:
    try:
        return row_configs(ablation, path, sources)
    except ConfigError as error:
        raise ConfigError(str(error).replace(str(path), origin, 1)) from error
