"""Command line of `cdtr quickstart`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")] = Path("runs/quickstart"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the images and of the training.")] = 0,
    images: Annotated[str, typer.Option("--images", help="Training and validation images to draw.")] = "3200,800",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, such as train.epochs=2; may be repeated.")
    ] = None,
) -> None:
    """Draw a small data set, train on it, measure, and write a page about it: minutes on a CPU, nothing to download.

    What is there already is kept, so that a stopped quickstart goes on when called again.

    Example: cdtr quickstart --out runs/quickstart
    """
    from cdtr.cli._shared import TERMINAL, require_folder
    from cdtr.reports.tables import metrics_table, summary_lines
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.quickstart import quickstart

    counts = parse_counts(images)
    require_folder(out)
    done = quickstart(out, images=counts, seed=seed, overrides=overrides or (), reporter=TERMINAL)
    if done.clip_fit is not None:
        print(done.clip_fit.line("held-out training images"))
    PlainConsole().print(metrics_table(done.evaluation))
    for line in summary_lines(done.evaluation):
        print(line)
    print(f"wrote {done.numbers}")
    print(f"wrote {done.boxes}: boxes and overlays of some validation images")
    print(f"wrote {done.page}: open it in a browser")


def parse_counts(images: str) -> tuple[int, int]:
    """The numbers of training and validation images; ConfigError for anything else."""
    from cdtr.errors import ConfigError

    try:
        n_train, n_val = (int(part) for part in images.split(","))
    except ValueError as error:
        raise ConfigError(
            f"--images {images!r}: expected two numbers, of training and validation images: 3200,800"
        ) from error
    if n_val < 1:
        raise ConfigError(f"--images {images!r}: expected at least one validation image")
    return n_train, n_val
