"""Command line of `cdtr evaluate`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli import _options as given


def command(
    run: given.RunArgument,
    data: Annotated[Path, given.option("The data set; without boxes, only classes are measured.")],
    split: given.SplitOption = None,
    boxes: given.BoxesOption = None,
    protocol: Annotated[str | None, given.option("wsol, tscam, sat, cdtr or all; by default the run's.")] = None,
    threshold: given.ThresholdOption = None,
    view: given.ViewOption = None,
    allow_leak: Annotated[bool, given.option("Score images that chose the threshold; marked as oracle.")] = False,
    json_file: given.JsonOption = None,
    per_class: Annotated[bool, given.option("A table of the classes, the worst first.")] = False,
    figures: given.FiguresOption = None,
    device: given.DeviceOption = None,
) -> None:
    """Measure boxes and classes in percent, beside what boxes that never look at the image would score.

    The numbers are also kept in the run folder (scores.json), for the model card of `cdtr push`, unless --threshold,
    --view or --allow-leak was given.

    Example: cdtr evaluate runs/neu --data NEU-DET --json neu.json
    """
    from cdtr.cli._output import TERMINAL, print_scores
    from cdtr.workflows.evaluate import evaluate
    from cdtr.workflows.opening import process_state

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
