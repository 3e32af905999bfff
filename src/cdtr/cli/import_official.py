"""Command line of `cdtr import-official`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="A released checkpoint of CDTR, CATR or TS-CAM (.pth).")],
    out: Annotated[Path, typer.Option("--out", help="The run folder to write.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes", help="Names of the classes in their order: a data set's root, or a file, one a line."
        ),
    ] = None,
) -> None:
    """Make a run folder of a released checkpoint, to evaluate, localize and compare as any other run.

    CDTR and CATR (CUB and ILSVRC, K = 9 and 10) and TS-CAM (DeiT) are told apart by their tensors. The file is read
    without running code from it. The run has the released code's settings, protocol and threshold.

    Example: cdtr import-official CDTR_CUB.pth --out runs/cdtr-cub --classes CUB_200_2011
    """
    from cdtr.cli._shared import LOCALIZE_REST, next_steps, note, shell
    from cdtr.workflows.import_official import import_official

    done = import_official(file, out, classes)
    left_out = done.released.left_out
    print(f"{file}: {done.released.description}")
    if left_out:
        note(f"left out {len(left_out)} tensors that the model does not use, such as {left_out[0]}")
    print(f"wrote {out}")
    localize = shell("cdtr", "localize", out) + LOCALIZE_REST
    if classes is None:
        first = done.class_names[0]
        note(f"the classes are called {first}, ...: to evaluate, import with --classes DATA, which has their names")
        next_steps([localize])
    else:
        next_steps([shell("cdtr", "evaluate", out, "--data", "DATA"), localize])
