"""Read the boxes that come back from a review, and tell what the reviewers changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from cdtr.corrections import KINDS, Review, compare, match_images, read_reviewed, read_written, settle_corners
from cdtr.errors import CdtrError, ConfigError, DataError
from cdtr.records import ImageBoxes, Localization
from cdtr.reports.columns import add_number, add_text
from cdtr.reports.notebook import html_table
from cdtr.runs import RunFolder
from cdtr.text import printable
from cdtr.workflows.reporting import SILENT, Reporter

_SPLITS = {"train", "val", "valid", "validation", "test"}


@dataclass(frozen=True, slots=True, repr=False)
class Corrections:
    """The result of ``import_corrections``.

    Attributes:
        file: The reviewed boxes.
        written_file: Our boxes that they were compared with.
        class_names: The classes that boxes may have.
        review: What became of our boxes: counts by class, and each change.
        reviewed: The reviewed boxes by image id.
        sizes_hw: Height and width of each reviewed image; None where neither file says them.
        run: The run that found the boxes, if it was given.
    """

    file: Path
    written_file: Path
    class_names: tuple[str, ...]
    review: Review
    reviewed: Mapping[str, ImageBoxes] = field(repr=False)
    sizes_hw: Mapping[str, tuple[int, int] | None] = field(repr=False)
    run: Path | None = None

    def __repr__(self) -> str:
        """The number of images and what became of their boxes."""
        total = self.review.total
        rate = "no box" if total.accept_rate is None else f"{total.accept_rate:.1f}% of {total.boxes} boxes accepted"
        counts = ", ".join(f"{getattr(total, kind)} {kind}" for kind in KINDS)
        return f"{type(self).__name__}({self.review.n_reviewed} images reviewed, {rate}: {counts})"

    def lines(self) -> list[str]:
        """Return the files and the number of images, for people; ``review_table`` has the boxes."""
        review = self.review
        unknown = f", {review.n_unknown} in the file are none of ours" if review.n_unknown else ""
        return [
            f"{self.file}, beside {self.written_file}",
            f"{review.n_reviewed} images reviewed, {review.n_not_reviewed} not{unknown}",
        ]

    def _repr_html_(self) -> str:
        tallies = {**self.review.by_class, "all": self.review.total}
        rows = [[name, str(one.boxes), *(str(getattr(one, kind)) for kind in KINDS)] for name, one in tallies.items()]
        caption = f"{self.file}: {self.review.n_reviewed} images reviewed, {self.review.n_not_reviewed} not"
        return html_table(caption, ["class", "boxes", *KINDS], rows)

    def to_json(self) -> dict[str, Any]:
        """Return counts and changes as JSON's types."""
        return {"file": str(self.file), "boxes": str(self.written_file), **self.review.to_json()}

    def write(self, path: Path) -> None:
        """Write the reviewed boxes as a COCO file with our names of the images, to calibrate with.

        Images without a box are listed.

        Args:
            path: A name that ends with ``.json``.

        Raises:
            DataError: Neither file says the size of an image.
        """
        from cdtr.formats import find_exporter

        check_coco_name(path)
        found = (self._localization(image_id, image) for image_id, image in self.reviewed.items())
        find_exporter("coco").write(found, path, self.class_names)

    def find_origin(self) -> tuple[str, str | None]:
        """Find the data set and the split of the images, see ``find_origin``."""
        return find_origin(self.run, self.reviewed)

    def _localization(self, image_id: str, image: ImageBoxes) -> Localization:
        size = self.sizes_hw[image_id]
        if size is None:
            raise DataError(f"{image_id} has no size in either file: give a COCO or CSV file of ours with `boxes=`")
        return Localization(
            image_id=image_id,
            size_hw=size,
            boxes_xyxy=np.array([box.xyxy for box in image.boxes], dtype=np.float64).reshape(-1, 4),
            labels=np.array([self.class_names.index(box.name) for box in image.boxes], dtype=np.int64),
            scores=np.ones(len(image.boxes)),
            map=np.zeros((0, 0)),
            map_label=0,
            class_probs=np.zeros(0),
        )


def import_corrections(
    file: str | Path,
    boxes: str | Path,
    *,
    run: str | os.PathLike[str] | None = None,
    out: str | Path | None = None,
    reporter: Reporter = SILENT,
) -> Corrections:
    """Compare reviewed boxes with ours.

    A box is kept if its class is the same and its IoU with ours is at least 0.99 or no corner is further away than half
    a pixel. An image without a box in the file was looked at and found to have none; one that is not in the file, or is
    unfinished or skipped in Label Studio, was not reviewed.

    Args:
        file: Reviewed boxes: Label Studio (JSON, JSON-MIN), COCO, CVAT for images (XML), a folder of YOLO or VOC.
        boxes: Ours that were reviewed: the folder that `cdtr localize` wrote, or a file in it.
        run: The run or its folder, for its classes; by default those that the boxes name.
        out: Write the reviewed boxes to this COCO file.
        reporter: Takes notes on how the file was read.

    Returns:
        The reviewed boxes, and what became of ours.

    Raises:
        DataError: A file cannot be used, or the images in it are none of ours.
        ConfigError: ``out`` does not end with ``.json``.
    """
    file, run_path = Path(file), None if run is None else Path(run)
    if out is not None:
        check_coco_name(Path(out))
    written_file, ours = read_written(Path(boxes), file)
    if run_path is not None:
        class_names = RunFolder(run_path).require_trained().class_names()
    else:
        class_names = ours.class_names or tuple(sorted({box.name for image in ours.images for box in image.boxes}))
    theirs = read_reviewed(file)
    written = {image.names[0]: image for image in ours.images}
    if len(written) < len(ours.images):
        raise DataError(f"{written_file} has an image twice: expected the file as `cdtr localize` wrote it")
    reviewed, n_unknown = match_images(written, theirs, str(file))
    if theirs.one_based:
        reviewed, first, told = settle_corners(written, reviewed, str(file))
        reason = "as more of them lie where ours do" if told else "as is VOC's standard: where ours lie does not tell"
        reporter.note(f"corners in {file} are read as counted from {first}, {reason}")
    review = compare(written, reviewed, class_names, n_unknown)
    for what, count in theirs.unread.items():
        if count:
            reporter.note(f"passed over {count} {what}")
    sizes = {image_id: image.size_hw or written[image_id].size_hw for image_id, image in reviewed.items()}
    found = Corrections(file, written_file, tuple(class_names), review, reviewed, sizes, run_path)
    if out is not None:
        found.write(Path(out))
    return found


def review_table(review: Review) -> Table:
    """Return the table of counts of each class that has a box, and of all."""
    table = Table()
    add_text(table, "class")
    for name in ("boxes", "kept", "moved", "relabelled", "deleted", "added", "accepted"):
        add_number(table, name)
    rows = [(name, tally) for name, tally in review.by_class.items() if tally.boxes or tally.added]
    for number, (name, tally) in enumerate([*rows, ("all", review.total)]):
        if number == len(rows):
            table.add_section()
        counts = (tally.boxes, tally.kept, tally.moved, tally.relabelled, tally.deleted, tally.added)
        rate = "" if tally.accept_rate is None else f"{tally.accept_rate:.1f}%"
        table.add_row(printable(name), *map(str, counts), rate)
    return table


def check_coco_name(path: Path) -> None:
    """Raise ConfigError for a name of a COCO file that does not end with ``.json``."""
    if path.suffix.lower() != ".json":
        raise ConfigError(f"`out={path}`: expected a name that ends with .json, as it is a COCO file")


def find_origin(run: Path | None, image_ids: Iterable[str]) -> tuple[str, str | None]:
    """Find the data set that a run was trained on, and its split that all images are of.

    Args:
        run: The run, None if it is not known.
        image_ids: The images.

    Returns:
        The folder of the data set and the split. Where the run or its data are no longer there, ``DATA`` and the split
        whose folder the names begin with. Of splits that share names it is one to calibrate on; training images can
        only be those that were held out. The split is None if nothing tells it.
    """
    from cdtr.data.datasets import load_source

    ids = list(image_ids)
    folders = {name.partition("/")[0] for name in ids}
    said = folders.pop() if len(folders) == 1 and folders <= _SPLITS and all("/" in name for name in ids) else None
    try:
        folder = RunFolder(run or "")
        root = Path(folder.manifest()["data"]["root"])
        source = load_source(root, folder.config().data.format)
    except (CdtrError, KeyError, TypeError, OSError):
        return "DATA", said
    holding = []
    for split, samples in source.splits.items():
        ends = {name for sample in samples for name in _ends(sample.image_id)}
        if all(name in ends for name in ids):
            holding.append(split)
    if not holding:
        return "DATA", said
    if said is None:
        chosen = [split for split in holding if split not in ("train", "test")]
        said = chosen[0] if len(chosen) == 1 else "held-out" if holding == ["train"] else None
    return str(root), said


def _ends(image_id: str) -> list[str]:
    """A name and the ends of its path."""
    parts = image_id.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]
