"""Command line of `cdtr describe`."""

from __future__ import annotations

from typing import Annotated

import typer

from cdtr.cli._options import JsonOption


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    json_file: JsonOption = None,
) -> None:
    """Say what a run is: data, settings that differ from the defaults, threshold, size, files.

    Example: cdtr describe runs/neu
    """
    from cdtr.cli._output import write_results
    from cdtr.cli._shared import require_outputs
    from cdtr.workflows.describe import describe

    require_outputs(json_file)
    found = describe(run)
    for line in found.lines():
        print(line)
    if json_file is not None:
        write_results(json_file, found.to_json())
