"""Train what a table or figure of the paper needs, and write it with the paper's values beside ours.

A reproduction is an ablation with a column of the paper's numbers: its runs are a ``Grid`` as those of ``ablate`` are.
Beside that, its rows come from a table of the paper, lie on one or several data sets, and share runs of equal settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cdtr.config import Reproduction, load_config, load_reproduction
from cdtr.data.opening import open_data
from cdtr.errors import ConfigError, DataError
from cdtr.evaluation import find_protocol
from cdtr.records import DataSource
from cdtr.reports.paper_table import Part, check_paper_metrics
from cdtr.runs import write_atomic
from cdtr.workflows.grid import Failures, Grid, Names, calibration_note, choose_calibration, split_names
from cdtr.workflows.paper_estimate import Estimate, estimate_runs
from cdtr.workflows.paper_files import make_files
from cdtr.workflows.paper_gallery import seeds_to_train
from cdtr.workflows.paper_runs import PaperPlan, Scale, by_reason, plan_cells, plan_paper, settle_paper
from cdtr.workflows.reporting import SILENT, Reporter

PAPER_FOLDER = "runs/paper"
SEEDS = "0,1,2"


@dataclass(frozen=True, slots=True)
class ReproductionPlan:
    """What a reproduction will train, checked: nothing is written yet.

    Attributes:
        found: the table or figure.
        scale: the data sets and settings.
        seeds: of the trainings.
        rows: which rows can be trained, and why the others cannot.
        grid: the trainings.
    """

    found: Reproduction
    scale: Scale
    seeds: Sequence[int]
    rows: PaperPlan
    grid: Grid

    def estimate(self, jobs: int | None = None, reporter: Reporter = SILENT) -> Estimate:
        """Return what the trainings may take on this machine, from one timed training step of each."""
        return estimate_runs(self.found, self.rows, self.scale, self.seeds, self.grid.out, jobs, reporter)

    def not_run(self) -> list[str]:
        """Return a line for each reason why rows are not trained."""
        return [f"not run: {names}: {reason}" for reason, names in by_reason(self.rows)]

    def run(
        self,
        protocol: str | None = None,
        images: int | None = None,
        jobs: int | None = None,
        reporter: Reporter = SILENT,
    ) -> ReproductionResult:
        """Train what is not done and write the table; see ``reproduce``."""
        failures = self.grid.run(jobs, reporter)
        out = self.grid.out
        made = make_files(self.found, self.rows, self.scale, self.seeds, out, protocol, images, reporter)
        for name, content in made.files.items():
            write_atomic(out / name, content)
        return ReproductionResult(self.found, made.parts, [out / name for name in made.files], failures)


@dataclass(frozen=True, slots=True, repr=False)
class ReproductionResult:
    """A table or figure of the paper that was written.

    Attributes:
        found: the table or figure, with the paper's numbers.
        parts: its lines, the paper's numbers beside ours, one part a data set.
        files: what was written.
        failures: the runs that failed; ``failures.raise_first()`` makes an error of them.
    """

    found: Reproduction
    parts: Sequence[Part]
    files: Sequence[Path]
    failures: Failures

    def __repr__(self) -> str:
        """The table, and the files."""
        return f"ReproductionResult({self.found.caption}: {', '.join(map(str, self.files))})"


def reproduce(
    table: str,
    data: Mapping[str, str | Path] | None = None,
    out: str | Path = PAPER_FOLDER,
    *,
    presets: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    seeds: Names = SEEDS,
    rows: Names | None = None,
    small_clip: bool = False,
    protocol: str | None = None,
    images: int | None = None,
    jobs: int | None = None,
    reporter: Reporter = SILENT,
) -> ReproductionResult:
    """Train what a table or figure of the paper needs, and write it with the paper's values beside ours.

    What is done already is kept, also by another table with the same ``out``, so that a stopped one goes on when it is
    called again. Without data, costs are measured and the rest stays empty. A figure of images shows the runs of the
    first seed, and trains no other.

    Args:
        table: such as ``V``, ``table-5`` or ``figure-7``.
        data: the folder of each data set at hand, by its name in the table.
        out: the folder of runs and tables; one may serve all tables.
        presets: another scale for a data set, by its name in the table; by default the paper's.
        overrides: settings over all rows, such as ``train.epochs=5``.
        seeds: of the trainings, as a list or with commas.
        rows: only these rows, as a list or with commas; None takes all.
        small_clip: train a small CLIP a seed from the labels, and use it for SBA.
        protocol: how ours are shown, while all are measured; None takes the preset's.
        images: of each data set, in a figure of images.
        jobs: trainings at a time; None takes one a GPU, or one a core without a GPU.
        reporter: takes notes and progress.

    Returns:
        The lines of the table, the files, and the runs that failed.

    Raises:
        ConfigError: an unknown table, data set, row, preset or setting, or ``out`` holds runs on other data.
        DataError: a data set cannot be read, or has no boxes to choose thresholds on and to score with.

    Example:
        ``cdtr.reproduce("V", {"cub": "CUB_200_2011"}, rows=["tscam", "cdtr"])``
    """
    plan = plan_reproduction(table, data, out, presets, overrides, seeds, rows, small_clip, protocol)
    return plan.run(protocol, images, jobs, reporter)


def plan_reproduction(
    table: str | Reproduction,
    data: Mapping[str, str | Path] | None = None,
    out: str | Path = PAPER_FOLDER,
    presets: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    seeds: Names = SEEDS,
    rows: Names | None = None,
    small_clip: bool = False,
    protocol: str | None = None,
) -> ReproductionPlan:
    """Check a reproduction and return what it will train. Arguments and errors are those of ``reproduce``."""
    found, out = load_reproduction(table) if isinstance(table, str) else table, Path(out)
    chosen_seeds = seeds_to_train(found, parse_seeds(seeds))
    check_paper_metrics(found)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: choose a folder as `out=`")
    if protocol is not None:
        find_protocol(protocol)
    scales = {name: (presets or {}).get(name, known.preset) for name, known in found.data.items()}
    only = _choose_rows(found, rows)
    sources = _open_all(found, data or {}, scales, overrides)
    bases = {name: [load_config(scales[name], overrides)] for name in sources}
    calibration = {name: choose_calibration(source, bases[name]) for name, source in sources.items()}
    scale = Scale(sources, scales, overrides, small_clip, only)
    plan = plan_paper(found, scale)
    files = settle_paper(plan, scale, chosen_seeds, out)
    clips, runs = plan_cells(plan, scale, calibration, chosen_seeds, out)
    notes = [f"{name}: {calibration_note(chosen, bases[name])}" for name, chosen in calibration.items()]
    return ReproductionPlan(found, scale, chosen_seeds, plan, Grid(out, clips, runs, files, notes))


def choose_presets(found: Reproduction, given: Sequence[str]) -> dict[str, str]:
    """Return the preset of each data set of the table: its own, the one for all, or the paper's.

    Args:
        found: the table or figure.
        given: ``NAME=PRESET`` for one data set, or ``PRESET`` for all.
    """
    named = _by_name(found, "preset", given)
    return {name: named.get(name, named.get("", data.preset)) for name, data in found.data.items()}


def choose_data(found: Reproduction, given: Sequence[str]) -> dict[str, str]:
    """Return the folder of each data set that was given; ConfigError where it is unclear which one is meant.

    Args:
        found: the table or figure.
        given: ``NAME=DIR``, or ``DIR`` where the table has one data set.
    """
    named = _by_name(found, "data", given)
    if "" in named:
        if len(found.data) > 1:
            raise ConfigError(
                f"`data={named['']}`: {found.name} has several data sets, give NAME=DIR for {', '.join(found.data)}"
            )
        (name,) = found.data
        if name in named:
            raise ConfigError(f"`data={named['']}`: {name} is given twice")
        return {name: named[""]}
    return named


def _by_name(found: Reproduction, argument: str, given: Sequence[str]) -> dict[str, str]:
    """The values by data set, of texts NAME=VALUE; a VALUE alone has the name "". ConfigError for an unknown name."""
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or (name not in found.data and Path(text).exists()):
            name, value = "", text
        if name and name not in found.data:
            raise ConfigError(
                f"`{argument}={text}`: {found.name} has no data set {name!r}, choose from {', '.join(found.data)}"
            )
        if name in values or not value:
            raise ConfigError(f"`{argument}={text}`: expected one NAME=... for each of {', '.join(found.data)}")
        values[name] = value
    return values


def parse_seeds(seeds: Names) -> list[int]:
    """Return different numbers from 0 up, in the order given, of a list or a text with commas."""
    text = seeds if isinstance(seeds, str) else ",".join(map(str, seeds))
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or len(set(found)) < len(found) or min(found) < 0:
        raise ConfigError(f"`seeds={text!r}`: expected different numbers from 0 up with commas, such as 0,1,2")
    return found


def _choose_rows(found: Reproduction, rows: Names | None) -> list[str]:
    """The rows that are named; an empty list for all."""
    if rows is None:
        return []
    text = rows if isinstance(rows, str) else ",".join(map(str, rows))
    names = split_names(text)
    if not names:
        raise ConfigError(
            f"`rows={text!r}`: expected names with commas, such as {', '.join(list(found.table.rows)[:2])}"
        )
    return names


def _open_all(
    found: Reproduction, data: Mapping[str, str | Path], presets: Mapping[str, str], overrides: Sequence[str]
) -> dict[str, DataSource]:
    """The data sets that were given; DataError for one without boxes or masks."""
    sources = {}
    for name, root in data.items():
        if name not in found.data:
            raise ConfigError(f"{found.name} has no data set {name!r}, choose from {', '.join(found.data)}")
        source = open_data(Path(root).resolve(), load_config(presets[name], overrides).data)
        if not source.annotated:
            raise DataError(f"{root} has no boxes: the runs are calibrated and scored with some, bring them")
        sources[name] = source
    return sources
