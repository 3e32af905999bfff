"""`cdtr reproduce`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdtr.config import Reproduction
    from cdtr.records import DataSource


def command(
    table: Annotated[str | None, typer.Argument(help="A table or figure: V, table-5, figure-7; see --list.")] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", help="NAME=DIR a data set of the table; DIR alone where it has one.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder of runs and tables; one may serve all tables.")] = Path(
        "runs/paper"
    ),
    preset: Annotated[
        list[str] | None,
        typer.Option(
            "--preset", help="Another scale for all data sets, or NAME=PRESET for one; by default the paper's."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting of all rows, such as train.epochs=5; may be repeated."),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds, with commas.")] = "0,1,2",
    rows: Annotated[str | None, typer.Option("--rows", help="Only these rows, by name, with commas.")] = None,
    small_clip: Annotated[
        bool, typer.Option("--small-clip", help="Train a small CLIP a seed from the labels, and use it for SBA.")
    ] = False,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="To show ours under; all are measured. By default the preset's.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="Images of each data set in a figure of pictures.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Trainings at a time; by default one a GPU, else one a core.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be run, and what it may cost.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--list", help="List the tables and figures, and the data they need.")
    ] = False,
) -> None:
    """Train what a table or figure of the paper needs, and write it with the paper's values and ours side by side.

    What is done already is kept, also by another table with the same --out, so that a stopped one goes on when called
    again. Without --data, costs are measured and the rest stays empty. A figure of pictures shows the runs of the first
    seed, and trains no other.

    Example: cdtr reproduce XIV --data neu-det=NEU-DET --preset neu-det=neu-det-small --small-clip --out runs/paper
    """
    if list_all or table is None:
        list_tables()  # before what is heavy
        return
    from cdtr.cli._grid import calibration_note, choose_calibration, fail_if_any, run_grid
    from cdtr.cli._paper_estimate import estimate
    from cdtr.cli._paper_gallery import seeds_to_train
    from cdtr.cli._paper_report import write_report
    from cdtr.cli._paper_runs import Scale, plan_cells, plan_paper, settle_paper
    from cdtr.cli._shared import note, require_folder
    from cdtr.config import load_config, load_reproduction
    from cdtr.errors import ConfigError
    from cdtr.evaluation import find_protocol
    from cdtr.reports.paper_table import check_paper_metrics
    from cdtr.runs import write_atomic

    found = load_reproduction(table)
    chosen_seeds = seeds_to_train(found, parse_seeds(seeds))
    check_paper_metrics(found)
    require_folder(out)
    if protocol is not None:
        find_protocol(protocol)
    presets = choose_presets(found, preset or [])
    only = [name.strip() for name in rows.split(",") if name.strip()] if rows is not None else []
    if rows is not None and not only:
        raise ConfigError(
            f"--rows {rows!r}: expected names with commas, such as {', '.join(list(found.table.rows)[:2])}"
        )
    sources = load_data(found, data or [], presets, overrides or [])
    bases = {name: [load_config(presets[name], overrides or [])] for name in sources}
    calibration = {name: choose_calibration(source, bases[name]) for name, source in sources.items()}
    scale = Scale(sources, presets, overrides or [], small_clip, only)
    plan = plan_paper(found, scale)
    files = settle_paper(plan, scale, chosen_seeds, out)
    clips, runs = plan_cells(plan, scale, calibration, chosen_seeds, out)
    if dry_run:
        waiting = sum(not cell.done.is_file() for cell in clips)
        estimate(found, plan, scale, chosen_seeds, out, waiting, jobs)
        return
    for name, chosen in calibration.items():
        note(f"{name}: {calibration_note(chosen, bases[name])}")
    for path, text in files.items() if runs else ():
        write_atomic(path, text)
    failed = run_grid(clips, runs, jobs)
    write_report(found, plan, scale, chosen_seeds, out, protocol, images)
    fail_if_any(failed, len(clips) + len(runs), out / "logs")


def list_tables() -> None:
    """Every table and figure with the data sets and rows that it needs."""
    from rich.table import Table

    from cdtr.config import load_reproduction, reproduction_names
    from cdtr.reports.columns import add_text
    from cdtr.terminal import PlainConsole

    table = Table(title="cdtr reproduce NAME --data DATA=DIR", title_justify="left")
    for column in ("name", "in the paper", "what", "data", "rows trained here"):
        add_text(table, column)
    for name in reproduction_names():
        found = load_reproduction(name)
        trained = f"{len(trainable_rows(found))} of {len(found.table.rows)}"
        table.add_row(name, found.caption, found.table.title, ", ".join(found.data), trained)
    PlainConsole().print(table)


def trainable_rows(found: Reproduction) -> list[str]:
    """The rows that can be trained here: their method is implemented, and its modules can stand together.

    Args:
        found: A table or figure.

    Returns:
        Names of rows, in the table's order. Nothing heavy is imported to tell.
    """
    from cdtr.config import load_config, switch_conflict
    from cdtr.model.registry import method_names

    names, rows = method_names(), []
    for name, row in found.table.rows.items():
        if row.settings is None:
            continue
        places = [data.preset for key, data in found.data.items() if name in found.table.rows_on(key)]
        configs = [load_config(preset, changes=row.settings) for preset in places]
        if all(config.method in names and not switch_conflict(config) for config in configs):
            rows.append(name)
    return rows


def parse_seeds(text: str) -> list[int]:
    """Different numbers from 0 up, in the order given."""
    from cdtr.errors import ConfigError

    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(f"--seeds {text!r}: expected different numbers from 0 up with commas, such as 0,1,2")
    return seeds


def by_name(found: Reproduction, option: str, given: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE for a data set of the table; a VALUE alone has the name "". ConfigError for another name."""
    from cdtr.errors import ConfigError

    values: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or (name not in found.data and Path(text).exists()):
            name, value = "", text
        if name and name not in found.data:
            raise ConfigError(
                f"{option} {text}: {found.name} has no data set {name!r}, choose from {', '.join(found.data)}"
            )
        if name in values or not value:
            raise ConfigError(f"{option} {text}: expected one NAME=... for each of {', '.join(found.data)}")
        values[name] = value
    return values


def choose_presets(found: Reproduction, given: Sequence[str]) -> dict[str, str]:
    """The preset of each data set of the table: its own, the one for all, or the paper's."""
    named = by_name(found, "--preset", given)
    return {name: named.get(name, named.get("", data.preset)) for name, data in found.data.items()}


def load_data(
    found: Reproduction, given: Sequence[str], presets: Mapping[str, str], overrides: Sequence[str]
) -> dict[str, DataSource]:
    """The data sets that were given, indexed; DataError for one without boxes or masks."""
    from cdtr.config import load_config
    from cdtr.data.opening import open_data
    from cdtr.errors import ConfigError, DataError

    named = by_name(found, "--data", given)
    if "" in named and len(found.data) > 1:
        raise ConfigError(
            f"--data {named['']}: {found.name} has several data sets, give NAME=DIR for {', '.join(found.data)}"
        )
    sources = {}
    for name, root in named.items():
        name = name or next(iter(found.data))
        if name in sources:
            raise ConfigError(f"--data {root}: {name} is given twice")
        source = open_data(Path(root).resolve(), load_config(presets[name], overrides).data)
        if not source.annotated:
            raise DataError(f"{root} has no boxes: the runs are calibrated and scored with some, bring them")
        sources[name] = source
    return sources
