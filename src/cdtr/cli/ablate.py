"""Command line of `cdtr ablate`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import JobsOption, JsonOption, RowsOption, argument, option


def command(
    grid: Annotated[Path, argument("A YAML file with data, rows of settings, and seeds; see docs/training.md.")],
    out: Annotated[Path, option("The folder of runs and tables to write.")],
    data: Annotated[Path | None, option("The data set, where the grid does not name it or it lies elsewhere.")] = None,
    jobs: JobsOption = None,
    rows: RowsOption = None,
    seeds: Annotated[str | None, option("Only these seeds of the grid, with commas.")] = None,
    dry_run: Annotated[bool, option("Only say what would be run.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Train every row of a grid with every seed, measure, and write one table with mean, spread and paired differences.

    What is done already is kept, so that a stopped grid goes on when called again. A failed run stops no other.

    Example: cdtr ablate neu.yaml --out runs/neu-grid
    """
    from cdtr.cli._output import TERMINAL, print_lines, print_table, write_results
    from cdtr.reports.ablation_table import to_table
    from cdtr.workflows.ablate import plan_ablation

    plan = plan_ablation(grid, out, data, rows, seeds)
    if dry_run:
        print_lines(f"{'done' if cell.is_done else 'to do'}  {cell.name}" for cell in plan.grid.cells)
        write_results(json_file, {cell.name: cell.is_done for cell in plan.grid.cells})
        return
    result = plan.run(jobs, TERMINAL)
    if result.table is not None:
        print_table(to_table(result.table))
        print(f"wrote {out / 'table.md'}, table.csv, table.json; the runs are in {out / 'runs'}")
        write_results(json_file, result.table.to_json())
    result.failures.raise_first()
