"""The images that a run's map threshold is chosen on, which are never those that are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cdtr.data.duplicates import find_copies
from cdtr.errors import DataError
from cdtr.image_files.paths import content_hash
from cdtr.records import DataSource, Sample
from cdtr.runs import RunFolder
from cdtr.workflows.opening import TEST_SPLITS, find_split, held_out_samples
from cdtr.workflows.reporting import SILENT, Reporter

HELD_OUT_IMAGES = "held-out training images"
_REFUSED_SPLITS = {
    "test": "a threshold chosen on it would flatter the scores",
    "train": "the run was fitted to it",
}
_CHOSEN_ON = "the images to choose on"  # a name that no split has; it follows the splits that are measured on

HashOf = Callable[[Path], str | None]


def calibration_samples(
    run: RunFolder,
    source: DataSource,
    split: str | None,
    hash_of: HashOf = content_hash,
    reporter: Reporter = SILENT,
) -> Sequence[Sample]:
    """Return the images to choose a threshold on.

    Args:
        run: the run.
        source: the data set that it was trained on.
        split: a split by name; None takes the training images that were held out.
        hash_of: hashes a file, for a caller that caches the hashes.
        reporter: takes a note of the images that are left out.

    Raises:
        DataError: the split is the test set, or what the run was fitted to, or it has no image.
    """
    if split in _REFUSED_SPLITS:
        reason = _REFUSED_SPLITS[split]
        raise DataError(f"`split={split}`: {reason}; choose a held-out split, or leave `split=` out")
    samples = held_out_samples(run, source) if split is None else find_split(run, source, split)
    return _without_scored(samples, source, split, hash_of, reporter)


def _without_scored(
    samples: Sequence[Sample], source: DataSource, split: str | None, hash_of: HashOf, reporter: Reporter
) -> Sequence[Sample]:
    """Without the images that are in a split for scores as well: with them in, that split could not be scored.

    DataError where none is left.
    """
    scored = {name: source.splits[name] for name in TEST_SPLITS if name in source.splits and name != split}
    copies = find_copies(replace(source, splits={**scored, _CHOSEN_ON: tuple(samples)}), hash_of)
    copies = [copy for copy in copies if copy.split == _CHOSEN_ON]
    copied = {copy.sample.path for copy in copies}
    left = [sample for sample in samples if sample.path not in copied]
    if copied:
        count, kept_split = len(samples) - len(left), copies[0].kept_split
        found = f"{count} of the {len(samples)} {describe_split(split)} are also in {kept_split}"
        if not left:
            raise DataError(f"{found}: give another `split=`, or train with `deduplicate=True`")
        reporter.note(f"{found}: the threshold is not chosen on them")
    return left


def describe_split(split: str | None) -> str:
    """Return what a threshold was chosen on, in words; None is the run's held-out images."""
    return HELD_OUT_IMAGES if split is None else f"images of {split}"
