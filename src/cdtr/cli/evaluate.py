"""Command line of `cdtr evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import (
    BoxesOption,
    DeviceOption,
    FiguresOption,
    JsonOption,
    SplitOption,
    ThresholdOption,
    ViewOption,
)


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    data: Annotated[Path, typer.Option("--data", help="The data set; without boxes, only classes are measured.")],
    split: SplitOption = None,
    boxes: BoxesOption = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="wsol, tscam, sat, cdtr or all; by default the run's.")
    ] = None,
    threshold: ThresholdOption = None,
    view: ViewOption = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Score images that the threshold was chosen on; marked as oracle.")
    ] = False,
    json_file: JsonOption = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="A table of the classes, the worst first.")] = False,
    figures: FiguresOption = None,
    device: DeviceOption = None,
) -> None:
    """Measure boxes and classes in percent, beside what boxes that never look at the image would score.

    The numbers are also kept in the run folder (scores.json), for the model card of `cdtr push`, unless --threshold,
    --view or --allow-leak was given.

    Example: cdtr evaluate runs/neu --data NEU-DET --json neu.json
    """
    from cdtr.cli._shared import TERMINAL, print_scores, require_outputs
    from cdtr.workflows.evaluate import evaluate
    from cdtr.workflows.opening import process_state

    require_outputs(json_file, figures)
    scores = evaluate(
        run,
        data,
        split=split,
        boxes=boxes,
        protocol=protocol,
        threshold=threshold,
        view=view,
        allow_leak=allow_leak,
        device=device,
        reporter=TERMINAL,
    )
    if process_state().is_main_process:
        print(f"{run} on {scores.split} of {data}")
        print_scores(scores, json_file, figures, per_class)
