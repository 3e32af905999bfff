"""Command line of `cdtr compare`."""

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
        str | None,
        typer.Option("--split", help="By default the first of test, val; held-out if both runs held out the same."),
    ] = None,
    protocol: Annotated[str | None, typer.Option("--protocol", help="By default that of the first run.")] = None,
    json_file: JsonOption = None,
    device: DeviceOption = None,
) -> None:
    """Measure two runs on the same images, with paired tests and intervals of the difference.

    Example: cdtr compare runs/tscam runs/cdtr --data NEU-DET
    """
    from cdtr.cli._output import write_results
    from cdtr.cli._shared import TERMINAL, require_outputs
    from cdtr.reports.tables import differences_table
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.compare import compare

    require_outputs(json_file)
    found = compare(run_a, run_b, data, split=split, protocol=protocol, device=device, reporter=TERMINAL)
    print(f"a: {run_a}\nb: {run_b}\n{found.split} of {data}, protocol {found.protocol}, {found.n_images} images")
    PlainConsole().print(differences_table(found.differences, found.recipes))
    for letter, result in zip("ab", found.evaluations, strict=True):
        threshold = "none" if result.threshold is None else f"{result.threshold:.3g}, {result.threshold_source}"
        print(f"threshold of {letter}: {threshold}; view {result.view}")
    if json_file is not None:
        write_results(json_file, found.to_json())
