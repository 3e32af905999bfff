"""Every method on every data set with every seed: one ablation a data set, in one grid, as one table and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cdtr.config import BenchPart, load_bench
from cdtr.errors import ConfigError, DataError
from cdtr.reports.ablation_table import Results, check_metrics
from cdtr.reports.bench_page import write_bench
from cdtr.reports.bench_table import COST_NAMES, BenchTable, Line, RowCost, make_lines
from cdtr.runs import write_atomic, write_json
from cdtr.workflows.ablate import AblationPlan, plan_rows
from cdtr.workflows.bench_costs import check_methods, measure_rows
from cdtr.workflows.bench_references import Evaluations, References, by_protocol
from cdtr.workflows.cells import Cell
from cdtr.workflows.grid import Failures, Grid, Names
from cdtr.workflows.reporting import SILENT, Reporter

CSV_FILE, PAGE_FILE, JSON_FILE = "bench.csv", "bench.html", "bench.json"
_EVALUATE_ALL = ("--protocol", "all")


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What a bench will train, checked: nothing is written yet.

    Attributes:
        name: of the bench, for its page.
        references: the rows from elsewhere, by data set.
        plans: the trainings on each data set, by name.
        metrics: the columns.
        sort: the column that sorts.
        grid: the trainings on all data sets.
    """

    name: str
    references: Mapping[str, References]
    plans: Mapping[str, AblationPlan]
    metrics: tuple[str, ...]
    sort: str
    grid: Grid

    def run(self, jobs: int | None = None, reporter: Reporter = SILENT) -> BenchResult:
        """Train and measure what is not done and write the table; see ``bench``."""
        scored = {data: self.references[data].score(plan, reporter) for data, plan in self.plans.items()}
        failures, out = self.grid.run(jobs, reporter), self.grid.out
        lines, machines, notes = {}, {}, {}
        for data, plan in self.plans.items():
            results = plan.results()
            if results:
                costs, machines[data] = _costs(plan, results, reporter)
                lines[data] = self._lines(plan, results, costs, scored[data])
                notes[data] = _notes(plan, len(results))
        if not lines:
            return BenchResult(out, None, (), failures)
        table = BenchTable(self.metrics, self.sort, lines, _base(self.plans), machines, notes)
        write_atomic(out / CSV_FILE, table.to_csv())
        write_json(out / JSON_FILE, table.to_json())
        write_bench(table, self.name, out / PAGE_FILE)
        return BenchResult(out, table, tuple(out / name for name in (CSV_FILE, JSON_FILE, PAGE_FILE)), failures)

    def _lines(
        self, plan: AblationPlan, results: Results, costs: Mapping[str, RowCost], scored: Mapping[str, Evaluations]
    ) -> dict[str, list[Line]]:
        """The lines of a data set by protocol, that of the settings first."""
        own = next(iter(plan.configs.values())).evaluation.protocol
        by_cell = {cell: by_protocol(result) for cell, result in results.items()}
        shared = [name for name in next(iter(by_cell.values())) if all(name in found for found in by_cell.values())]
        lines = {}
        for protocol in sorted(shared, key=lambda name: name != own):
            under = {cell: found[protocol] for cell, found in by_cell.items()}
            others = {name: found[protocol] for name, found in scored.items() if protocol in found}
            lines[protocol] = make_lines(plan.tabulate(under), under, costs, others, self.sort)
        return lines


@dataclass(frozen=True, slots=True, repr=False)
class BenchResult:
    """A bench that was written.

    Attributes:
        out: the folder of the table, the page and the runs.
        table: its lines by data set and protocol; None where no run is done.
        files: ``bench.csv``, ``bench.json`` and ``bench.html``.
        failures: the runs that failed; ``failures.raise_first()`` makes an error of them.
    """

    out: Path
    table: BenchTable | None
    files: tuple[Path, ...]
    failures: Failures

    def __repr__(self) -> str:
        """The folder, the data sets, and how many runs failed."""
        sets = "no run" if self.table is None else ", ".join(self.table.lines)
        failed = f", {len(self.failures.reasons)} of {self.failures.total} runs failed" if self.failures.reasons else ""
        return f"BenchResult({self.out}: {sets}{failed})"


def bench(
    grid: str | Path,
    out: str | Path,
    *,
    data: Mapping[str, str | Path] | None = None,
    rows: Names | None = None,
    seeds: Names | None = None,
    sort: str | None = None,
    jobs: int | None = None,
    reporter: Reporter = SILENT,
) -> BenchResult:
    """Train every row of a file with every seed on every data set, and compare scores and cost.

    What is done already is kept, so that a stopped bench goes on when it is called again. Each run is trained in a
    process of its own; one that fails does not stop the others. Cost is measured after the trainings, all rows of a
    data set in turns.

    Args:
        grid: a YAML file with data, rows of settings, and seeds; see docs/bench.md.
        out: the folder of runs, table and page to write.
        data: where data sets of the file lie, by name; those without a path are left out.
        rows: only train these rows, as a list or with commas; None takes all.
        seeds: only train these seeds of the file, as a list or with commas; None takes all.
        sort: the column to sort by, best first; None takes the first metric of the file.
        jobs: trainings at a time; None takes one a GPU, or one a core without a GPU.
        reporter: takes notes and progress.

    Returns:
        The table, the files, and the runs that failed.

    Raises:
        ConfigError: a row is wrong or does not fit, or ``out`` holds runs of other settings.
        DataError: a data set cannot be read, or has no boxes to choose thresholds on and to score with.

    Example:
        ``cdtr.bench("methods.yaml", "runs/bench", data={"neu": "NEU-DET"}, sort="ms_per_image").table``
    """
    return plan_bench(grid, out, data, rows, seeds, sort).run(jobs, reporter)


def plan_bench(
    grid: str | Path,
    out: str | Path,
    data: Mapping[str, str | Path] | None = None,
    rows: Names | None = None,
    seeds: Names | None = None,
    sort: str | None = None,
) -> BenchPlan:
    """Check a bench and return what it will train. Arguments and errors are those of ``bench``."""
    grid, out = Path(grid), Path(out)
    found, parts = load_bench(grid)
    check_metrics(found.metrics)
    chosen_sort = _check_sort(sort, found.metrics)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: choose a folder as `out=`")
    if (out / "grid.json").is_file():
        raise ConfigError(f"{out} holds the runs of one grid (`cdtr ablate`): choose another `out=`")
    paths = _find_paths(grid, parts, data or {})
    options = _EVALUATE_ALL if found.all_protocols else ()
    plans, references = {}, {}
    for name, path in paths.items():
        part = parts[name]
        try:
            plans[name] = plan_rows(grid, part.ablation, part.configs, out / name, path, rows, seeds, options)
        except DataError as error:
            raise DataError(f"{grid}, data {name!r}: {error}") from error
        check_methods(plans[name].configs, len(plans[name].source.class_names), f"{grid}, data {name!r}")
        references[name] = References(part.references, grid.parent, found.all_protocols)
        references[name].check(plans[name])
    left_out = [f"{name} is left out, as it has no path: give `data={name}=DIR`" for name in parts if name not in paths]
    return BenchPlan(grid.stem, references, plans, found.metrics, chosen_sort, _join(out, plans, left_out))


def parse_data(given: Sequence[str]) -> dict[str, str]:
    """Return the folders by data set of texts ``NAME=DIR``; ConfigError for another text, or a name given twice."""
    found: dict[str, str] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not name or not folder or name in found:
            raise ConfigError(f"`data={text}`: expected NAME=DIR, once for each data set of the file")
        found[name] = folder
    return found


def _check_sort(sort: str | None, metrics: Sequence[str]) -> str:
    columns = [*metrics, *COST_NAMES]
    if sort is not None and sort not in columns:
        raise ConfigError(f"`sort={sort}`: no such column, choose one of {', '.join(columns)}")
    return sort or metrics[0]


def _find_paths(
    grid: Path, parts: Mapping[str, BenchPart], given: Mapping[str, str | Path]
) -> dict[str, str | Path | None]:
    """The given path of each data set that has one; None for that of the file."""
    unknown = [name for name in given if name not in parts]
    if unknown:
        raise ConfigError(f"{grid} has no data set {unknown[0]!r}: choose from {', '.join(parts)}")
    found = {name: given.get(name) for name, part in parts.items() if name in given or part.ablation.data is not None}
    if not found:
        raise ConfigError(f"{grid} names no path of a data set: give `data={next(iter(parts))}=DIR`")
    return found


def _join(out: Path, plans: Mapping[str, AblationPlan], notes: Sequence[str]) -> Grid:
    """The trainings on all data sets as one grid, so that they share the cores or GPUs."""

    def named(data: str, cells: Sequence[Cell]) -> list[Cell]:
        return [
            replace(cell, name=f"{data}: {cell.name}", log=out / "logs" / f"{data}-{cell.log.name}") for cell in cells
        ]

    return Grid(
        out,
        [cell for data, plan in plans.items() for cell in named(data, plan.grid.clips)],
        [cell for data, plan in plans.items() for cell in named(data, plan.grid.runs)],
        {path: text for plan in plans.values() for path, text in plan.grid.files.items()},
        [*notes, *(f"{data}: {line}" for data, plan in plans.items() for line in plan.grid.notes)],
    )


def _costs(plan: AblationPlan, results: Results, reporter: Reporter) -> tuple[dict[str, RowCost], str]:
    done = {row for row, _ in results}
    configs = {row: config for row, config in plan.configs.items() if row in done}
    return measure_rows(configs, len(plan.source.class_names), plan.out / "costs.json", reporter)


def _notes(plan: AblationPlan, done: int) -> list[str]:
    total = len(plan.ablation.rows) * len(plan.ablation.seeds)
    return [*plan.grid.notes, *([f"{total - done} of {total} runs are not done"] if done < total else [])]


def _base(plans: Mapping[str, AblationPlan]) -> str:
    ablation = next(iter(plans.values())).ablation
    return ablation.base or next(iter(ablation.rows))
