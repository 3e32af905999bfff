"""Command line of `cdtr import-official`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import RunOutOption, argument, option


def command(
    file: Annotated[Path, argument("A released checkpoint of CDTR, CATR or TS-CAM (.pth).")],
    out: RunOutOption,
    classes: Annotated[
        Path | None, option("Names of the classes in their order: a data set's root, or a file, one a line.")
    ] = None,
) -> None:
    """Make a run folder of a released checkpoint, to evaluate, localize and compare as any other run.

    CDTR and CATR (CUB and ILSVRC, K = 9 and 10) and TS-CAM (DeiT) are told apart by their tensors. The file is read
    without running code from it. The run has the released code's settings, protocol and threshold.

    Example: cdtr import-official CDTR_CUB.pth --out runs/cdtr-cub --classes CUB_200_2011
    """
    from cdtr.cli._output import TERMINAL, localize_step, next_steps
    from cdtr.workflows.import_official import import_official

    done = import_official(file, out, classes, reporter=TERMINAL)
    print(f"{file}: {done.released.description}")
    print(f"wrote {out}")
    next_steps(*([("evaluate", out, "--data", "DATA")] if classes else []), localize_step(out))
