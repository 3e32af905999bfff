"""Command line of `cdtr ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import JsonOption


def command(
    grid: Annotated[
        Path, typer.Argument(help="A YAML file with data, rows of settings, and seeds; see docs/training.md.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The folder of runs and tables to write.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="The data set, where the grid does not name it or it lies elsewhere.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Trainings at a time; by default one a GPU, else one a core.")
    ] = None,
    rows: Annotated[str | None, typer.Option("--rows", help="Only these rows, by name, with commas.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Only these seeds of the grid, with commas.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Train every row of a grid with every seed, measure, and write one table with mean, spread and paired differences.

    What is done already is kept, so that a stopped grid goes on when called again. A failed run stops no other.

    Example: cdtr ablate neu.yaml --out runs/neu-grid
    """
    from cdtr.cli._output import write_results
    from cdtr.cli._shared import TERMINAL, require_outputs
    from cdtr.reports.ablation_table import to_table
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.ablate import plan_ablation

    require_outputs(json_file)
    plan = plan_ablation(grid, out, data, rows, seeds)
    if dry_run:
        for cell in plan.grid.cells:
            print(f"{'done' if cell.is_done else 'to do'}  {cell.name}")
        write_results(json_file, {cell.name: cell.is_done for cell in plan.grid.cells})
        return
    result = plan.run(jobs, TERMINAL)
    if result.table is not None:
        PlainConsole().print(to_table(result.table))
        print(f"wrote {out / 'table.md'}, table.csv, table.json; the runs are in {out / 'runs'}")
        write_results(json_file, result.table.to_json())
    result.failures.raise_first()
