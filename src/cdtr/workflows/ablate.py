"""Train every row of a grid with every seed, measure, and write one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cdtr.config import Ablation, Config, load_ablation, recipe_label
from cdtr.data.opening import open_data
from cdtr.errors import ConfigError, DataError
from cdtr.model.methods import with_switches
from cdtr.records import DataSource
from cdtr.reports.ablation_table import AblationTable, Results, check_metrics, collect, summarise, to_csv, to_markdown
from cdtr.runs import write_atomic, write_json
from cdtr.workflows.ablation_files import result_file, settle_files
from cdtr.workflows.cells import Cell
from cdtr.workflows.grid import (
    Failures,
    Grid,
    Names,
    calibrate_options,
    calibration_note,
    choose_calibration,
    clip_cell,
    split_names,
    training_cell,
)
from cdtr.workflows.opening import HELD_OUT, check_evaluation
from cdtr.workflows.reporting import SILENT, Reporter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AblationPlan:
    """What an ablation will train, checked: nothing is written yet.

    Attributes:
        ablation: the grid's file, with all rows and seeds; the table is of all that are done.
        configs: the settings of each row, with every switch resolved as its method says.
        source: the data set, opened.
        out: the folder of everything.
        grid: the trainings that were asked for.
    """

    ablation: Ablation
    configs: Mapping[str, Config]
    source: DataSource
    out: Path
    grid: Grid

    def run(self, jobs: int | None = None, reporter: Reporter = SILENT) -> AblationResult:
        """Train what is not done and write the table; see ``ablate``."""
        failures = self.grid.run(jobs, reporter)
        found = self.results()
        if not found:
            return AblationResult(self.out, None, failures)
        table = self.tabulate(found)
        write_atomic(self.out / "table.md", to_markdown(table))
        write_atomic(self.out / "table.csv", to_csv(table))
        write_json(self.out / "table.json", table.to_json())
        return AblationResult(self.out, table, failures)

    def results(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Read the evaluations of all runs that are done, by row and seed."""
        plan = self.ablation
        return collect({(row, seed): result_file(self.out, row, seed) for row in plan.rows for seed in plan.seeds})

    def tabulate(self, found: Results) -> AblationTable:
        """Make the table of evaluations under one protocol, at least one."""
        plan = self.ablation
        recipes = {row: recipe_label(config) for row, config in self.configs.items()}
        views = {row: result["view"] for (row, _), result in found.items() if "view" in result}
        if len(set(views.values())) > 1:  # rows that look at images in several ways stand in one table
            recipes = {row: f"{label}, view {views.get(row, 'whole')}" for row, label in recipes.items()}
        return summarise(found, plan.metrics, plan.base or next(iter(plan.rows)), recipes)


@dataclass(frozen=True, slots=True, repr=False)
class AblationResult:
    """A table of trainings that was written.

    Attributes:
        out: the folder with ``table.md``, ``table.csv``, ``table.json`` and the runs.
        table: mean, standard deviation and paired differences; None where no run is done.
        failures: the runs that failed; ``failures.raise_first()`` makes an error of them.
    """

    out: Path
    table: AblationTable | None
    failures: Failures

    def __repr__(self) -> str:
        """The folder, the rows, and how many runs failed."""
        rows = "no row" if self.table is None else f"rows {', '.join(self.table.scores)}"
        failed = f", {len(self.failures.reasons)} of {self.failures.total} runs failed" if self.failures.reasons else ""
        return f"AblationResult({self.out}: {rows}{failed})"


def ablate(
    grid: str | Path,
    out: str | Path,
    *,
    data: str | Path | None = None,
    rows: Names | None = None,
    seeds: Names | None = None,
    jobs: int | None = None,
    reporter: Reporter = SILENT,
) -> AblationResult:
    """Train every row of a grid with every seed, measure, and write one table.

    What is done already is kept, so that a stopped grid goes on when it is called again. Each run is trained in a
    process of its own; one that fails does not stop the others.

    Args:
        grid: a YAML file with data, rows of settings, and seeds; see docs/training.md.
        out: the folder of runs and tables to write.
        data: the data set, where the grid does not name it or it lies elsewhere.
        rows: only these rows, as a list or with commas; None takes all.
        seeds: only these seeds of the grid, as a list or with commas; None takes all.
        jobs: trainings at a time; None takes one a GPU, or one a core without a GPU.
        reporter: takes notes and progress.

    Returns:
        The table, and the runs that failed.

    Raises:
        ConfigError: a row is wrong, or ``out`` holds runs of other settings.
        DataError: the data set cannot be read, or has no boxes to choose thresholds on and to score with.

    Example:
        ``cdtr.ablate("neu.yaml", "runs/neu-grid", rows=["cam", "cdtr"]).table``
    """
    return plan_ablation(grid, out, data, rows, seeds).run(jobs, reporter)


def plan_ablation(
    grid: str | Path,
    out: str | Path,
    data: str | Path | None = None,
    rows: Names | None = None,
    seeds: Names | None = None,
) -> AblationPlan:
    """Check a grid and return what it will train. Arguments and errors are those of ``ablate``."""
    grid, out = Path(grid), Path(out)
    plan, asked = load_ablation(grid)
    return plan_rows(grid, plan, asked, out, data, rows, seeds)


def plan_rows(
    grid: Path,
    plan: Ablation,
    asked: Mapping[str, Config],
    out: Path,
    data: str | Path | None = None,
    rows: Names | None = None,
    seeds: Names | None = None,
    evaluate: Sequence[str] = (),
) -> AblationPlan:
    """Check a grid that was read and return what it will train; see ``plan_ablation``.

    Args:
        grid: its file, for messages and paths.
        plan: the grid.
        asked: the settings of each row.
        out: the folder of runs and tables to write.
        data: the data set, where the grid does not name it or it lies elsewhere.
        rows: only these rows.
        seeds: only these seeds.
        evaluate: further options of `cdtr evaluate`.
    """
    check_metrics(plan.metrics)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: choose a folder as `out=`")
    if data is None and plan.data is None:
        raise ConfigError(f"{grid} names no data: give `data=`")
    root = (Path(data) if data is not None else grid.parent / str(plan.data)).resolve()
    configs = _resolve_rows(grid, asked)
    source = open_data(root, next(iter(configs.values())).data)
    calibration = _choose_images(grid, configs, source, plan.split)
    files = settle_files(plan, asked, root, out, calibration, evaluate)
    chosen = _choose_cells(plan, rows, seeds)
    options = (*(("--split", plan.split) if plan.split else ()), *evaluate)
    clips, runs = _plan_cells(chosen, root, out, calibration, options)
    notes = [calibration_note(calibration, configs.values())]
    return AblationPlan(plan, configs, source, out, Grid(out, clips, runs, files, notes))


def _choose_cells(plan: Ablation, rows: Names | None, seeds: Names | None) -> Ablation:
    """The grid with only these rows and seeds."""
    changes: dict[str, Any] = {}
    if rows is not None:
        changes["rows"] = {name: plan.rows[name] for name in _find("rows", rows, {row: row for row in plan.rows})}
    if seeds is not None:
        changes["seeds"] = tuple(_find("seeds", seeds, {str(seed): seed for seed in plan.seeds}))
    return plan.model_copy(update=changes)


def _find(option: str, given: Names, known: Mapping[str, T]) -> list[T]:
    """The values of some names; ConfigError for no name, and for one that the grid lacks."""
    text = given if isinstance(given, str) else ",".join(map(str, given))
    names = split_names(text)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        found = f"the grid has no {unknown[0]!r}" if unknown else "nothing was named"
        raise ConfigError(f"--{option} {text!r}: {found}, choose from {', '.join(known)}")
    return [known[name] for name in names]


def _resolve_rows(grid: Path, configs: Mapping[str, Config]) -> dict[str, Config]:
    """The settings with every switch resolved; an error that every training would raise is raised here."""
    resolved = {}
    for name, config in configs.items():
        try:
            resolved[name] = with_switches(config)
            check_evaluation(config)
        except ConfigError as error:
            raise ConfigError(f"{grid}, row {name!r}: {error}") from error
    return resolved


def _choose_images(grid: Path, configs: Mapping[str, Config], source: DataSource, split: str | None) -> str | None:
    """The split to choose thresholds on, None where nothing is calibrated; DataError where it cannot be scored."""
    if not source.annotated:
        raise DataError(f"{source.root} has no boxes: a grid is calibrated and scored with some, bring them")
    choices = [*(name for name, samples in source.splits.items() if samples), HELD_OUT]
    if split is not None and split not in choices:
        raise DataError(f"{grid}: {source.root} has no split {split!r}, choose one of {', '.join(choices)}")
    return choose_calibration(source, list(configs.values()), split)


def _plan_cells(
    plan: Ablation, data: Path, out: Path, calibration: str | None, evaluate: Sequence[str]
) -> tuple[list[Cell], list[Cell]]:
    """The small CLIPs and the trainings."""
    logs, configs = out / "logs", {row: out / "configs" / f"{row}.yaml" for row in plan.rows}
    clip_of = {seed: out / "clips" / str(seed) for seed in (plan.seeds if plan.small_clip else ())}
    first = next(iter(configs.values()))
    clips = [
        clip_cell(f"CLIP, seed {seed}", data, first, seed, clip, logs / f"clip-{seed}.log")
        for seed, clip in clip_of.items()
    ]
    runs = [
        training_cell(
            f"{row}, seed {seed}",
            data,
            config,
            seed,
            result_file(out, row, seed).parent,
            logs / f"{row}-{seed}.log",
            clip_of.get(seed),
            calibrate_options(calibration),
            evaluate=evaluate,
        )
        for seed in plan.seeds
        for row, config in configs.items()
    ]
    return clips, runs
