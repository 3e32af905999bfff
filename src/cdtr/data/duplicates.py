"""Images that lie in several splits, byte for byte: found, and left out of the split that matters less."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cdtr.image_files.paths import content_hash
from cdtr.image_files.tar_members import file_size
from cdtr.records import DataSource, Sample

# Scores come from the first of these; an image stays in the first split that has it.
KEEPING_ORDER = ("test", "val", "train-fullsup", "train")


class Copy(NamedTuple):
    """An image that an earlier split of ``KEEPING_ORDER`` has as well, there perhaps under several names."""

    split: str
    sample: Sample
    kept_split: str
    kept: tuple[Sample, ...]


def find_copies(source: DataSource, hash_of: Callable[[Path], str | None] = content_hash) -> list[Copy]:
    """Every image that has a byte-identical copy in an earlier split.

    Only files of one size in several splits are read, by ``hash_of``, which may know their hashes already. Copies
    within a split are none of these.
    """
    splits = order_splits(source)
    by_size: dict[int, set[str]] = defaultdict(set)
    sizes: dict[Path, int] = {}
    for split in splits:
        for sample in source.splits[split]:
            size = file_size(sample.path)
            if size:  # missing and empty files are broken images, not copies
                sizes[sample.path] = size
                by_size[size].add(split)
    kept: dict[str, tuple[str, list[Sample]]] = {}
    copies = []
    for split in splits:
        for sample in source.splits[split]:
            size = sizes.get(sample.path, 0)
            content = hash_of(sample.path) if len(by_size.get(size, ())) > 1 else None
            if content is None:
                continue
            first_split, first = kept.setdefault(content, (split, []))
            if first_split == split:
                first.append(sample)
            else:
                copies.append(Copy(split, sample, first_split, tuple(first)))
    return copies


def order_splits(source: DataSource) -> list[str]:
    """The splits that have images, in ``KEEPING_ORDER``, then those of other names."""
    splits = [split for split in KEEPING_ORDER if source.splits.get(split)]
    return splits + sorted(split for split, found in source.splits.items() if found and split not in splits)


def without(source: DataSource, copies: list[Copy]) -> DataSource:
    """The set with those copies left out, each from the later of its two splits."""
    dropped = {(copy.split, copy.sample.image_id) for copy in copies}
    return replace(
        source,
        splits={
            split: tuple(sample for sample in samples if (split, sample.image_id) not in dropped)
            for split, samples in source.splits.items()
        },
    )


def describe_copies(copies: list[Copy]) -> str:
    """In one line, by pairs of splits: ``218 images of val are also in train, there 260 times``."""
    pairs: dict[tuple[str, str], list[Copy]] = defaultdict(list)
    for copy in copies:
        pairs[copy.split, copy.kept_split].append(copy)
    return "; ".join(
        f"{len({one.image_id for copy in found for one in copy.kept})} images of {kept} are also in {split}, there "
        f"{len(found)} times"
        for (split, kept), found in pairs.items()
    )
