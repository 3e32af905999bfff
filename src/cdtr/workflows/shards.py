"""Write a data set as tar shards, which trainings read in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from cdtr.config import load_config
from cdtr.data.opening import open_data
from cdtr.data.shards import require_empty, require_webdataset
from cdtr.data.shards import write_shards as write_source
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out


def write_shards(
    data: str | Path,
    out: str | Path,
    *,
    images: int = 1000,
    megabytes: float = 1000,
    overrides: Sequence[str] = (),
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> Mapping[str, int]:
    """Write a data set as tar shards in WebDataset's form; the result is a data set like any other.

    Args:
        data: the root of a data set.
        out: the folder of shards to write.
        images: images in a shard at most.
        megabytes: about the size of a shard at most.
        overrides: settings of data, such as ``data.deduplicate=true``.
        seed: of the order in which the images are mixed.
        reporter: takes notes and progress.

    Returns:
        The number of shards of each split.

    Raises:
        ConfigError: a setting is wrong, or the library webdataset is missing.
        DataError: the data set cannot be read, or something is in ``out``.
    """
    require_webdataset()
    require_empty(Path(out))
    source = open_data(Path(data), load_config(None, overrides).data, reporter.note)
    total = sum(len(samples) for samples in source.splits.values())
    with reporter.progress("writing images", total) as advance:
        return write_source(source, Path(out), images, megabytes, seed, advance, warn_of_left_out(reporter))
