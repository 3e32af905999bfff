"""`cdtr compare`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import DeviceOption, JsonOption


def command(
    run_a: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    run_b: Annotated[str, typer.Argument(help="Another, trained on the same classes.")],
    data: Annotated[Path, typer.Option("--data", help="The data set.")],
    split: Annotated[
        str | None, typer.Option("--split", help="By default the first of test, val; not what a run held out.")
    ] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="By default that of the first run.")] = None,
    json_file: JsonOption = None,
    device: DeviceOption = None,
) -> None:
    """Measure two runs on the same images, with paired tests and intervals of the difference.

    Example: cdtr compare runs/tscam runs/cdtr --data NEU-DET
    """
    from dataclasses import asdict

    from rich.console import Console

    from cdtr.api import find_run
    from cdtr.cli._shared import open_source
    from cdtr.cli.evaluate import choose_split, evaluate_run
    from cdtr.evaluation import find_protocol
    from cdtr.metrics.paired import compare_rows
    from cdtr.reports.tables import differences_table
    from cdtr.runs import write_json

    first, second = (find_run(path) for path in (run_a, run_b))
    rules = find_protocol(protocol or first.config().evaluation.protocol)
    source = open_source(first, data)
    open_source(second, data)
    name, samples = choose_split(first, source, split)
    results = [evaluate_run(folder, source, samples, [rules], device=device)[0] for folder in (first, second)]
    differences = compare_rows(results[0].rows, results[1].rows)
    print(f"a: {run_a}\nb: {run_b}\n{name} of {data}, protocol {rules.name}, {len(results[0].rows)} images")
    Console().print(differences_table(differences))
    for letter, result in zip("ab", results, strict=True):
        threshold = "none" if result.threshold is None else f"{result.threshold:.3g}, {result.threshold_source}"
        print(f"threshold of {letter}: {threshold}")
    if json_file is not None:
        tree = {
            "a": run_a,
            "b": run_b,
            "split": name,
            "protocol": rules.name,
            "differences": {difference.metric: asdict(difference) for difference in differences},
        }
        write_json(json_file, tree)
        print(f"wrote {json_file}")
