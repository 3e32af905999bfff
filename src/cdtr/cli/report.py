"""Command line of `cdtr report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import BoxesOption, DeviceOption, SplitOption


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="The data set; by default where it lay when the run was trained.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The HTML file to write; by default report.html in the run folder.")
    ] = None,
    split: SplitOption = None,
    boxes: BoxesOption = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images in each gallery.")] = 4,
    device: DeviceOption = None,
) -> None:
    """Write a page about a run: its data, settings, scores, errors and training curves, and images with their maps.

    One HTML file that needs no other and no connection. Without boxes, or without the images, it has what there is.

    Example: cdtr report runs/neu --data NEU-DET --out neu.html
    """
    from cdtr.cli._shared import TERMINAL
    from cdtr.workflows.report import report

    written = report(run, data, out=out, split=split, boxes=boxes, images=images, device=device, reporter=TERMINAL)
    print(f"wrote {written.page}: open it in a browser")
