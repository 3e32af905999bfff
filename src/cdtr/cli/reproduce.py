"""Command line of `cdtr reproduce`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cdtr.config import Reproduction


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
        int | None, typer.Option("--images", min=1, help="Images of each data set in a figure of images.")
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
    again. Without --data, costs are measured and the rest stays empty. A figure of images shows the runs of the first
    seed, and trains no other.

    Example: cdtr reproduce XIV --data neu-det=NEU-DET --preset neu-det=neu-det-small --small-clip --out runs/paper
    """
    if list_all or table is None:
        list_tables()  # before what is heavy
        return
    from cdtr.cli._shared import TERMINAL, note
    from cdtr.config import load_reproduction
    from cdtr.reports.paper_terminal import to_tables
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.paper_runs import by_reason
    from cdtr.workflows.reproduce import plan_reproduction

    found, console = load_reproduction(table), PlainConsole()
    presets, places = choose_presets(found, preset or []), choose_data(found, data or [])
    plan = plan_reproduction(found, places, out, presets, overrides or (), seeds, rows, small_clip, protocol)
    left_out = [f"not run: {names}: {reason}" for reason, names in by_reason(plan.rows)]
    if dry_run:
        estimate = plan.estimate(jobs, TERMINAL)
        console.print(estimate.to_table(f"{found.caption}: the runs"))
        for line in (*left_out, *estimate.lines(sum(not clip.is_done for clip in plan.grid.clips))):
            print(line)
        return
    result = plan.run(protocol, images, jobs, TERMINAL)
    for part in to_tables(found, result.parts, console) if found.table.metrics else ():
        console.print(part)
    for line in left_out if not found.table.metrics else ():
        note(line)
    first, *others = result.files
    print(f"wrote {first}" + "".join(f", {file.name}" for file in others))
    result.failures.raise_first()


def list_tables() -> None:
    """Every table and figure with the data sets and rows that it needs."""
    from rich.table import Table

    from cdtr.config import load_reproduction, reproduction_names
    from cdtr.reports.columns import add_text
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.paper_tables import trainable_rows

    table = Table(title="cdtr reproduce NAME --data DATA=DIR", title_justify="left")
    for column in ("name", "in the paper", "what", "data", "rows trained here"):
        add_text(table, column)
    for name in reproduction_names():
        found = load_reproduction(name)
        trained = f"{len(trainable_rows(found))} of {len(found.table.rows)}"
        table.add_row(name, found.caption, found.table.title, ", ".join(found.data), trained)
    PlainConsole().print(table)


def by_name(found: Reproduction, option: str, given: Sequence[str]) -> dict[str, str]:
    """The values by data set, of texts NAME=VALUE; a VALUE alone has the name "". ConfigError for an unknown name."""
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


def choose_data(found: Reproduction, given: Sequence[str]) -> dict[str, str]:
    """The folder of each data set that was given; ConfigError where it is unclear which one is meant."""
    from cdtr.errors import ConfigError

    named = by_name(found, "--data", given)
    if "" in named:
        if len(found.data) > 1:
            raise ConfigError(
                f"--data {named['']}: {found.name} has several data sets, give NAME=DIR for {', '.join(found.data)}"
            )
        (name,) = found.data
        if name in named:
            raise ConfigError(f"--data {named['']}: {name} is given twice")
        return {name: named[""]}
    return named
