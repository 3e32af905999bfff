"""Command line of `cdtr data shards`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import argument, option


def command(
    data: Annotated[Path, argument("A data set's root.")],
    out: Annotated[Path, option("The folder of shards to write.")],
    images: Annotated[int, option("Images a shard, at most.", min=1)] = 1000,
    megabytes: Annotated[float, option("Size of a shard, about, at most.", min=1)] = 1000,
    overrides: Annotated[list[str] | None, option("One setting, such as data.deduplicate=true.", "--set")] = None,
    seed: Annotated[int, option("Of the order in which the images are mixed.", min=0)] = 0,
) -> None:
    """Write a data set as tar shards in WebDataset's form, which trainings read in a row.

    For sets on slow disks or network shares. What comes out is a data set like any other.

    Example: cdtr data shards ILSVRC --out shards/ilsvrc
    """
    from cdtr.cli._output import TERMINAL, next_steps
    from cdtr.workflows.shards import write_shards

    settings = overrides or ()
    counts = write_shards(
        data, out, images=images, megabytes=megabytes, overrides=settings, seed=seed, reporter=TERMINAL
    )
    print(f"wrote {out}: " + ", ".join(f"{count} shards of {split}" for split, count in counts.items()))
    next_steps(("train", out, "--out", "RUN"))
