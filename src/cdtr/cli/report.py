"""Command line of `cdtr report`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import BoxesOption, DeviceOption, RunArgument, SplitOption, option


def command(
    run: RunArgument,
    data: Annotated[Path | None, option("The data set; by default where it lay when the run was trained.")] = None,
    out: Annotated[Path | None, option("The HTML file to write; by default report.html in the run folder.")] = None,
    split: SplitOption = None,
    boxes: BoxesOption = None,
    images: Annotated[int, option("Images in each gallery.", min=1)] = 4,
    device: DeviceOption = None,
) -> None:
    """Write a page about a run: its data, settings, scores, errors and training curves, and images with their maps.

    One HTML file that needs no other and no connection. Without boxes, or without the images, it has what there is.

    Example: cdtr report runs/neu --data NEU-DET --out neu.html
    """
    from cdtr.cli._output import TERMINAL
    from cdtr.workflows.report import report

    written = report(run, data, out=out, split=split, boxes=boxes, images=images, device=device, reporter=TERMINAL)
    print(f"wrote {written.page}: open it in a browser")
