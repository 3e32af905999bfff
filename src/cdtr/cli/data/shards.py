"""Command line of `cdtr data shards`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    data: Annotated[Path, typer.Argument(help="A data set's root.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of shards to write.")],
    images: Annotated[int, typer.Option("--images", min=1, help="Images a shard, at most.")] = 1000,
    megabytes: Annotated[float, typer.Option("--megabytes", min=1, help="Size of a shard, about, at most.")] = 1000,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="One setting of data, such as data.deduplicate=true.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order in which the images are mixed.")] = 0,
) -> None:
    """Write a data set as tar shards in WebDataset's form, which trainings read in a row.

    For sets on slow disks or network shares. What comes out is a data set like any other.

    Example: cdtr data shards ILSVRC --out shards/ilsvrc
    """
    from cdtr.cli._shared import TERMINAL, next_steps, note, progress_bar, shell
    from cdtr.config import load_config
    from cdtr.data.opening import open_data
    from cdtr.data.shards import require_webdataset, write_shards
    from cdtr.workflows.reporting import warn_of_left_out

    require_webdataset()
    source = open_data(data, load_config(None, overrides or []).data, note)
    total = sum(len(samples) for samples in source.splits.values())
    with progress_bar("writing images", total) as move:
        counts = write_shards(source, out, images, megabytes, seed, move, warn_of_left_out(TERMINAL))
    print(f"wrote {out}: " + ", ".join(f"{count} shards of {split}" for split, count in counts.items()))
    next_steps([shell("cdtr", "train", out, "--out", "RUN")])
