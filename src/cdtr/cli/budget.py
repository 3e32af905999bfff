"""Command line of `cdtr budget`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import BoxesOption, DeviceOption, JsonOption, RunArgument, SetOption, option


def command(
    run: RunArgument,
    data: Annotated[Path, option("The data set that the run was trained on.")],
    out: Annotated[Path, option("The folder to write.")],
    boxes: BoxesOption = None,
    split: Annotated[str | None, option("The split that the boxes are of; by default all images are taken.")] = None,
    sizes: Annotated[str | None, option("Numbers of boxed images; by default 0,10,20,50,100,200.")] = None,
    draws: Annotated[int, option("Draws of images for thresholds and priors.", min=1)] = 20,
    priors: Annotated[bool, option("Measure the choice of the object prior too.")] = False,
    refine: Annotated[bool, option("Train second stages with boxes: minutes for each draw and size.")] = False,
    detector: Annotated[bool, option("Train small detectors on the boxes alone: a minute for each.")] = False,
    trainings: Annotated[int, option("Draws of images for what is trained.", min=1)] = 3,
    overrides: SetOption = None,
    device: DeviceOption = None,
    json_file: JsonOption = None,
) -> None:
    """Measure on your own images what a few boxes bring, and so how many to draw.

    Half of the images with boxes, always the same ones, measure and choose nothing; of the others some are drawn, again
    and again. They choose the threshold, with --priors the object prior, teach a second stage with --refine, and with
    --detector a detector that sees nothing else. The run stays as it is.

    Example: cdtr budget runs/one --data photos/ --boxes reviewed.json --out budget
    """
    from cdtr.cli._output import TERMINAL, print_table, with_flags, write_results
    from cdtr.reports.budget_page import budget_table
    from cdtr.workflows.budget import PAGE_FILE, budget

    found = budget(
        run,
        data,
        out,
        boxes=boxes,
        split=split,
        sizes=sizes,
        draws=draws,
        priors=priors,
        refine=refine,
        detector=detector,
        trainings=trainings,
        overrides=overrides or (),
        device=device,
        reporter=TERMINAL,
    )
    print_table(budget_table(found.points))
    print(with_flags(found.advice))
    print(f"wrote {found.folder / PAGE_FILE}")
    write_results(json_file, found.to_json())
