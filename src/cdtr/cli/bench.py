"""Command line of `cdtr bench`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import JobsOption, JsonOption, RowsOption, argument, option


def command(
    grid: Annotated[Path, argument("A YAML file with data sets, rows of settings, and seeds; see docs/bench.md.")],
    out: Annotated[Path, option("The folder of runs, table and page to write.")],
    data: Annotated[list[str] | None, option("NAME=DIR: where a data set of the file lies; may be repeated.")] = None,
    jobs: JobsOption = None,
    rows: RowsOption = None,
    seeds: Annotated[str | None, option("Only these seeds of the file, with commas.")] = None,
    sort: Annotated[
        str | None, option("The column to sort by, such as ms_per_image; by default the first metric.")
    ] = None,
    dry_run: Annotated[bool, option("Only say what would be run.")] = False,
    json_file: JsonOption = None,
) -> None:
    """Train every method on every data set with every seed, and compare scores and cost in one table and page.

    What is done already is kept, so that a stopped bench goes on when called again. A failed run stops no other.

    Example: cdtr bench methods.yaml --data neu-det=NEU-DET --out runs/bench
    """
    from cdtr.cli._output import TERMINAL, print_lines, print_table, write_results
    from cdtr.reports.bench_page import to_tables
    from cdtr.workflows.bench import parse_data, plan_bench

    plan = plan_bench(grid, out, parse_data(data or ()), rows, seeds, sort)
    if dry_run:
        print_lines(f"{'done' if cell.is_done else 'to do'}  {cell.name}" for cell in plan.grid.cells)
        write_results(json_file, {cell.name: cell.is_done for cell in plan.grid.cells})
        return
    result = plan.run(jobs, TERMINAL)
    if result.table is not None:
        for table in to_tables(result.table):
            print_table(table)
        print(f"wrote {', '.join(map(str, result.files))}")
        write_results(json_file, result.table.to_json())
    result.failures.raise_first()
