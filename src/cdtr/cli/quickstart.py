"""Command line of `cdtr quickstart`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import SetOption, option, require_folder


def command(
    out: Annotated[Path, option("The folder to write.", callback=require_folder)] = Path("runs/quickstart"),
    seed: Annotated[int, option("Of the images and of the training.", min=0)] = 0,
    images: Annotated[str, option("Training and validation images to draw.")] = "3200,800",
    overrides: SetOption = None,
) -> None:
    """Draw a small data set, train on it, measure, and write a page about it: minutes on a CPU, nothing to download.

    What is there already is kept, so that a stopped quickstart goes on when called again.

    Example: cdtr quickstart --out runs/quickstart
    """
    from cdtr.cli._output import TERMINAL, print_lines, print_table
    from cdtr.reports.tables import metrics_table, summary_lines
    from cdtr.workflows.quickstart import parse_counts, quickstart

    done = quickstart(out, images=parse_counts(images), seed=seed, overrides=overrides or (), reporter=TERMINAL)
    if done.clip_fit is not None:
        print(done.clip_fit.line("held-out training images"))
    print_table(metrics_table(done.evaluation))
    print_lines(summary_lines(done.evaluation))
    print(f"wrote {done.numbers}")
    print(f"wrote {done.boxes}: boxes and overlays of some validation images")
    print(f"wrote {done.page}: open it in a browser")
