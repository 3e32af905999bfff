"""Command line of `cdtr reproduce`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import JobsOption, RowsOption, argument, option


def command(
    table: Annotated[str | None, argument("A table or figure: V, table-5, figure-7; see --list.")] = None,
    data: Annotated[list[str] | None, option("NAME=DIR a data set of the table; DIR alone where it has one.")] = None,
    out: Annotated[Path, option("The folder of runs and tables; one may serve all tables.")] = Path("runs/paper"),
    preset: Annotated[
        list[str] | None, option("Another scale for all data sets, or NAME=PRESET for one; by default the paper's.")
    ] = None,
    overrides: Annotated[
        list[str] | None, option("One setting of all rows, such as train.epochs=5; may be repeated.", "--set")
    ] = None,
    seeds: Annotated[str, option("Seeds, with commas.")] = "0,1,2",
    rows: RowsOption = None,
    small_clip: Annotated[bool, option("Train a small CLIP a seed from the labels, and use it for SBA.")] = False,
    protocol: Annotated[str | None, option("To show ours under; all are measured. By default the preset's.")] = None,
    images: Annotated[int | None, option("Images of each data set in a figure of images.", min=1)] = None,
    jobs: JobsOption = None,
    dry_run: Annotated[bool, option("Only say what would be run, and what it may cost.")] = False,
    list_all: Annotated[bool, option("List the tables and figures, and the data they need.", "--list")] = False,
) -> None:
    """Train what a table or figure of the paper needs, and write it with the paper's values and ours side by side.

    What is done already is kept, also by another table with the same --out, so that a stopped one goes on when called
    again. Without --data, costs are measured and the rest stays empty. A figure of images shows the runs of the first
    seed, and trains no other.

    Example: cdtr reproduce XIV --data neu-det=NEU-DET --preset neu-det=neu-det-small --small-clip --out runs/paper
    """
    from cdtr.cli._output import TERMINAL, print_lines, with_flags
    from cdtr.terminal import PlainConsole

    console = PlainConsole(with_flags)
    if list_all or table is None:
        from cdtr.workflows.paper_tables import list_tables

        print("cdtr reproduce NAME --data DATA=DIR")
        console.print(list_tables())
        return  # before what is heavy
    from cdtr.config import load_reproduction
    from cdtr.reports.paper_terminal import to_tables
    from cdtr.workflows.reproduce import choose_data, choose_presets, plan_reproduction

    found = load_reproduction(table)
    presets, places = choose_presets(found, preset or []), choose_data(found, data or [])
    plan = plan_reproduction(found, places, out, presets, overrides or (), seeds, rows, small_clip, protocol)
    if dry_run:
        estimate = plan.estimate(jobs, TERMINAL)
        console.print(estimate.to_table(f"{found.caption}: the runs"))
        print_lines([*plan.not_run(), *estimate.lines(sum(not clip.is_done for clip in plan.grid.clips))])
        return
    result = plan.run(protocol, images, jobs, TERMINAL)
    if found.table.metrics:
        for part in to_tables(found, result.parts, console):
            console.print(part)
    else:
        for line in plan.not_run():
            TERMINAL.note(line)
    first, *others = result.files
    print(f"wrote {first}" + "".join(f", {file.name}" for file in others))
    result.failures.raise_first()
