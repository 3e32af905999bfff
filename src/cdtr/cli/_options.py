"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

SplitOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--split", help="test, val, train or held-out; by default the first of test, val, held-out."),
]
BoxesOption: TypeAlias = Annotated[
    str | None, typer.Option("--boxes", help="A file or folder of boxes, where they do not lie in the data set.")
]
ThresholdOption: TypeAlias = Annotated[
    float | None, typer.Option("--threshold", help="Of the map, from 0 to 1; by default the calibrated one.")
]
DeviceOption: TypeAlias = Annotated[str | None, typer.Option("--device", help="cpu, cuda, ...")]
ViewOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--view",
        help="What the network sees of an image: whole, mirrored, crop or tiled; by default as the run was calibrated.",
    ),
]
JsonOption: TypeAlias = Annotated[
    Path | None, typer.Option("--json", help="Write the results as JSON to this file; - is standard output.")
]
FiguresOption: TypeAlias = Annotated[Path | None, typer.Option("--figures", help="Write figures (PNG) to this folder.")]
SetOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--set", help="One setting, such as train.epochs=20; may be repeated.")
]
ResumeOption: TypeAlias = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
