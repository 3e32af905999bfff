"""Command line of `cdtr refine`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import BoxesOption, ResumeOption, RunArgument, RunOutOption, SetOption, option


def command(
    run: RunArgument,
    data: Annotated[Path, option("The data set that the run was trained on.")],
    out: RunOutOption,
    target: Annotated[
        str | None, option("What is learned: mask, the first run's maps, or box, the boxes that they give.")
    ] = None,
    boxes: BoxesOption = None,
    overrides: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train a second stage on a run's own maps, for sharper boxes, and write both as a new run.

    No true box is looked at, unless --boxes names some of training images: these then replace the run's maps.
    --target box is PSOL's second stage: one box for every image, regressed.

    Example: cdtr refine runs/one --data photos/ --out runs/two
    """
    from cdtr.cli._output import TERMINAL, next_steps, steps_after_training
    from cdtr.workflows.refine import refine
    from cdtr.workflows.train import is_main_process

    found = refine(
        run, data, out, target=target, overrides=overrides or (), boxes=boxes, resume=resume, reporter=TERMINAL
    )
    if not is_main_process():
        return
    print(f"wrote {found.path}: both stages in {found.weights.name}")
    next_steps(*steps_after_training(found, data, out))
