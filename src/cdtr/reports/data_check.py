"""What a look at a data set found, as tables for the terminal and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.table import Table

from cdtr.config import DataConfig
from cdtr.data.check import Finding, counted
from cdtr.data.check.copies import Copies
from cdtr.data.check.image_findings import count_classes
from cdtr.data.check.scan import BoxFacts, ImageFacts
from cdtr.data.duplicates import order_splits
from cdtr.image_files.paths import plain_name
from cdtr.records import DataSource
from cdtr.reports.columns import add_number, add_text
from cdtr.reports.notebook import html_image, html_table
from cdtr.reports.tables import BASELINE_NAMES, percent
from cdtr.text import printable

_SHOWN_CLASSES = 24  # in the terminal; the JSON has all
_SHOWN_SIZES = 3
_SHEET_CLASSES, _SHEET_IMAGES = 12, 4  # in a notebook, and images of each class
_EASY = 75.0  # percent of the images


@dataclass(frozen=True, slots=True, repr=False)
class DataCheck:
    """Everything that was found out about a data set.

    Attributes:
        source: the data set.
        facts: of each image.
        boxes: of each image with boxes.
        baselines: by split, the scores of boxes that ignore the image, see ``evaluation.trivial.trivial_scores``.
        findings: what is wrong or odd.
        allowed: kinds of findings that count as notes.
        copies: images that are equal or alike; None where they were not compared.
        max_pixels: the largest image that is read.
    """

    source: DataSource
    facts: Sequence[ImageFacts]
    boxes: Sequence[BoxFacts]
    baselines: Mapping[str, Mapping[str, Any] | None]
    findings: Sequence[Finding]
    allowed: Collection[str] = field(default=())
    copies: Copies | None = None
    max_pixels: int = DataConfig().max_pixels

    def __repr__(self) -> str:
        """The data set, and the numbers of images, problems and notes."""
        counts = f"{len(self.facts)} images, {len(self.problems)} problems, {len(self.notes)} notes"
        return f"DataCheck({self.source.root}: {counts})"

    def _repr_html_(self) -> str:
        from cdtr.reports.contact_sheet import class_sheet  # it draws a DataCheck

        groups = {"problem": self.problems, "note": self.notes}
        rows = [(name, one.kind, one.message) for name, found in groups.items() for one in found]
        table = html_table(repr(self), ["", "kind", "finding"], rows)
        sheet = class_sheet(self, _SHEET_IMAGES, self.max_pixels, _SHEET_CLASSES)
        return table + html_image(sheet, "images of each class with their boxes")

    @property
    def problems(self) -> list[Finding]:
        """The findings that would spoil a training or a score."""
        return [found for found in self.findings if found.serious and found.kind not in self.allowed]

    @property
    def notes(self) -> list[Finding]:
        """The other findings."""
        return [found for found in self.findings if not found.serious or found.kind in self.allowed]

    def to_json(self) -> dict[str, Any]:
        """A tree of plain values, with every image of every finding."""
        names, counts = [plain_name(name) for name in self.source.class_names], count_classes(self.source, self.facts)
        return {
            "data": plain_name(str(self.source.root)),
            "format": self.source.name,
            "class_names": names,
            "splits": {
                split: {**_split_facts(self, split), "per_class": dict(zip(names, counts[split], strict=True))}
                for split in order_splits(self.source)[::-1]
            },
            "findings": [
                {
                    "kind": found.kind,
                    "problem": found in self.problems,
                    "message": plain_name(found.message),
                    "items": [plain_name(item) for item in found.items],
                }
                for found in self.findings
            ],
            "problems": len(self.problems),
            "read": [account.to_json() for account in self.source.accounts],
        }


def splits_table(check: DataCheck) -> Table:
    """A column a split: images, sizes, modes, boxes, and what boxes score that never look."""
    splits = order_splits(check.source)[::-1]
    facts = {split: _split_facts(check, split) for split in splits}
    table = Table(title=f"{printable(str(check.source.root))}, read as {check.source.name}", title_justify="left")
    add_text(table, "")
    for split in splits:
        add_number(table, split)

    def row(name: str, cells: Iterable[str]) -> None:
        table.add_row(name, *cells)

    row("images", (str(facts[split]["images"]) for split in splits))
    row("that cannot be read", (str(facts[split]["unreadable"]) for split in splits))
    row("classes with images", (str(facts[split]["classes"]) for split in splits))
    for side in ("width", "height"):
        row(f"{side}, least - median - most", (_range(facts[split][side]) for split in splits))
    row("most frequent sizes", (_most(facts[split]["sizes"], _SHOWN_SIZES) for split in splits))
    row("modes", (_most(facts[split]["modes"]) for split in splits))
    row("files", (_most(facts[split]["formats"]) for split in splits))
    if check.boxes:
        table.add_section()
        row("images with boxes", (str(facts[split]["with_boxes"]) for split in splits))
        row("boxes", (str(facts[split]["boxes"]) for split in splits))
        row("box's share of the image, median", (_share(facts[split]["median_box_share"]) for split in splits))
        for level, name in (("gt_known_loc", ""), ("gt_known_loc_iou70", " at IoU 0.7")):
            for key, baseline in BASELINE_NAMES.items():
                scores = ((check.baselines.get(split) or {}).get(key) or {} for split in splits)
                row(f"{baseline}{name}, % hits", (percent(score.get(level)) for score in scores))
        table.caption = "* chosen on these very images, which flatters it; hits as GT-known Loc of cdtr evaluate counts"
        table.caption_justify = "left"
    return table


def classes_table(check: DataCheck) -> Table:
    """Readable images of each class and split; of many classes the smallest and largest of training."""
    counts = count_classes(check.source, check.facts)
    splits = order_splits(check.source)[::-1]
    names = check.source.class_names
    order = list(range(len(names)))
    title = "images a class"
    if len(names) > _SHOWN_CLASSES:
        by_size = sorted(order, key=lambda label: (counts[splits[0]][label], label))
        half = _SHOWN_CLASSES // 2
        order = by_size[:half] + by_size[-half:]
        title = f"the {half} smallest and largest of {len(names)} classes"
    table = Table(title=title, title_justify="left")
    add_text(table, "class")
    for split in splits:
        add_number(table, split)
    for place, label in enumerate(order):
        table.add_row(printable(names[label]), *(str(counts[split][label]) for split in splits))
        if len(names) > _SHOWN_CLASSES and place == _SHOWN_CLASSES // 2 - 1:
            table.add_section()
    return table


def finding_lines(check: DataCheck) -> list[str]:
    """The problems, the notes, and a last line that counts them."""
    lines = [f"problem [{found.kind}] {found.message}" for found in check.problems]
    lines += [f"note [{found.kind}] {found.message}" for found in check.notes]
    kinds = sorted({found.kind for found in check.problems})
    summary = f"{counted(len(check.problems), 'problem')} ({', '.join(kinds)})" if kinds else "no problem"
    return [*map(printable, lines), f"{summary}, {counted(len(check.notes), 'note')}"]


def find_easy_boxes(baselines: Mapping[str, Mapping[str, Any] | None]) -> Iterator[Finding]:
    """Splits whose boxes a box hits that never looks at the image."""
    for split, scores in baselines.items():
        for key, what in (("full_image", "the whole image"), ("centre_box", "one centred box")):
            rate = 0.0 if scores is None else scores[key]["gt_known_loc"]
            if rate >= _EASY:
                message = f"{split}: {what} hits {percent(rate)}% of the images: a score there says little"
                yield Finding("boxes-easy", message)
                break


def _split_facts(check: DataCheck, split: str) -> dict[str, Any]:
    own = [one for one in check.facts if one.split == split]
    sizes = [one.size_hw for one in own if one.size_hw is not None]
    boxes = [
        (one.annotation.boxes_xyxy, one.image.size_hw)
        for one in check.boxes
        if one.image.split == split and one.annotation is not None and one.image.size_hw is not None
    ]
    shares = [
        float(share)
        for found, (height, width) in boxes
        for share in (found[:, 2:] - found[:, :2]).prod(axis=1) / (height * width)
    ]
    return {
        "images": len(own),
        "unreadable": sum(one.fault is not None for one in own),
        "classes": len({one.sample.label for one in own if one.fault is None}),
        "width": _spread([width for _, width in sizes]),
        "height": _spread([height for height, _ in sizes]),
        "sizes": dict(Counter(f"{width}x{height}" for height, width in sizes).most_common()),
        "modes": dict(Counter(one.mode for one in own if one.size_hw is not None).most_common()),
        "formats": dict(Counter(one.file_format for one in own if one.size_hw is not None).most_common()),
        "with_boxes": sum(len(found) > 0 for found, _ in boxes),
        "boxes": len(shares),
        "median_box_share": float(np.median(shares)) if shares else None,
        "baselines": check.baselines.get(split),
    }


def _spread(sides: Sequence[int]) -> dict[str, float] | None:
    return {"min": min(sides), "median": float(np.median(sides)), "max": max(sides)} if sides else None


def _range(spread: Mapping[str, float] | None) -> str:
    return "-" if spread is None else f"{spread['min']:g} - {spread['median']:g} - {spread['max']:g}"


def _most(counts: Mapping[str, int], most: int = 4) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{name}: {count}" for name, count in list(counts.items())[:most]]
    return "\n".join(shown + ([f"{len(counts) - most} more"] if len(counts) > most else [])) or "-"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
