"""Which images a training may see: the training split, and the part of it held back for validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cdtr.errors import DataError
from cdtr.records import DataSource, Sample


def training_samples(source: DataSource) -> tuple[Sample, ...]:
    """The training split's samples, at least one. DataError for a set that has none."""
    samples = source.splits.get("train", ())
    if not samples:
        found = ", ".join(split for split, members in source.splits.items() if members) or "no images at all"
        raise DataError(
            f"{source.root} has no training images: expected a train split, found {found}; "
            "add train/CLASS/ folders, or point at a folder of class folders"
        )
    return samples


def hold_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split into (fit, held), class by class, both in the order given.

    ``share`` in [0, 1) of each class is held, rounded, but at least one image and never the last one; a class with a
    single image keeps it for training. Share 0 holds nothing. The choice depends on seed, label and order only.
    """
    if not 0 <= share < 1:
        raise DataError(f"the share to hold out is {share}: expected 0 or more and less than 1")
    by_label: dict[int, list[int]] = {}
    for index, sample in enumerate(samples):
        by_label.setdefault(sample.label, []).append(index)
    held: set[int] = set()
    for label, indices in by_label.items():
        if share == 0 or len(indices) < 2:
            continue
        count = min(max(round(share * len(indices)), 1), len(indices) - 1)
        order = np.random.default_rng([seed, label]).permutation(len(indices))
        held.update(indices[i] for i in order[:count])
    fit = [sample for index, sample in enumerate(samples) if index not in held]
    return fit, [sample for index, sample in enumerate(samples) if index in held]
