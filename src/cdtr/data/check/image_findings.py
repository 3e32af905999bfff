"""Findings about files, classes and sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from cdtr.data.check.findings import Finding, counted, joined
from cdtr.data.check.scan import ImageFacts
from cdtr.records import DataSource

_IMBALANCE = 10
_SHORT_SIDE = 32  # pixels
_STRETCH = 4
_SCORED = ("test", "val")


def find_faults(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    """Images that cannot be read, by split and by what is wrong with them."""
    faulty = sorted((one for one in facts if one.fault is not None), key=_split_and_fault)
    for (split, kind), group in groupby(faulty, _split_and_fault):
        found = list(group)
        reason = found[0].fault.message if found[0].fault is not None else ""
        others = f", and {counted(len(found) - 1)} more" if len(found) > 1 else ""
        yield Finding(kind, f"{split}: {reason}{others}", tuple(one.sample.image_id for one in found))


def find_class_gaps(source: DataSource, facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    """Classes that a split lacks, unequal classes, and what there is to score."""
    counts = count_classes(source, facts)
    for split, of_class in counts.items():
        lacking = [name for name, count in zip(source.class_names, of_class, strict=True) if not count]
        if lacking:
            kind = "class-empty" if split == "train" else "class-missing"
            what = "has no readable image of" if len(lacking) < len(source.class_names) else "has no readable image, of"
            yield Finding(kind, f"{split} {what} {joined(lacking)}", tuple(lacking))
    trained = counts.get("train", [])
    if any(trained) and max(trained) >= _IMBALANCE * min(filter(None, trained)):
        least = min(range(len(trained)), key=lambda label: trained[label] or max(trained))
        most = max(range(len(trained)), key=lambda label: trained[label])
        message = (
            f"train: {source.class_names[most]} has {counted(trained[most])}, {source.class_names[least]} has "
            f"{trained[least]}: what is rare is learned worse, look at the scores of each class"
        )
        yield Finding("imbalance", message, (source.class_names[most], source.class_names[least]))
    if not any(source.splits.get(split) for split in _SCORED):
        yield Finding("no-scores", "no split val or test: scores will come from the training images held out")


def count_classes(source: DataSource, facts: Sequence[ImageFacts]) -> dict[str, list[int]]:
    """Readable images of each split that lists any, by label."""
    counts = {split: [0] * len(source.class_names) for split, samples in source.splits.items() if samples}
    for one in facts:
        if one.fault is None:
            counts[one.split][one.sample.label] += 1
    return counts


def find_odd_images(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    """Modes that differ, and sizes that a square input distorts or blurs."""
    readable = [one for one in facts if one.fault is None]
    modes = Counter(colour_kind(one.mode) for one in readable)
    if len(modes) > 1:
        rarest = min(modes, key=lambda kind: modes[kind])
        said = ", ".join(f"{count} {kind}" for kind, count in modes.most_common())
        rare = tuple(one.sample.image_id for one in readable if colour_kind(one.mode) == rarest)
        yield Finding("modes-mixed", f"images are of several kinds: {said}", rare)
    odd = [one for one in readable if one.size_hw is not None and _is_odd(one.size_hw)]
    if odd:
        height, width = odd[0].size_hw or (0, 0)
        message = (
            f"{counted(len(odd))} below {_SHORT_SIDE} pixels a side or more than {_STRETCH} times as long as wide, "
            f"such as {odd[0].sample.image_id} ({width} x {height})"
        )
        yield Finding("sizes-extreme", message, tuple(one.sample.image_id for one in odd))


def colour_kind(mode: str) -> str:
    """What a mode of Pillow means to people."""
    if mode in ("1", "L", "I", "F") or mode.startswith("I;"):
        return "grey"
    return "with transparency" if mode in ("RGBA", "LA", "PA", "La", "RGBa") else "colour"


def _split_and_fault(one: ImageFacts) -> tuple[str, str]:
    return one.split, "" if one.fault is None else one.fault.kind


def _is_odd(size_hw: tuple[int, int]) -> bool:
    return min(size_hw) < _SHORT_SIDE or max(size_hw) > _STRETCH * min(size_hw)
