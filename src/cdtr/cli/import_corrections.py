"""`cdtr import-corrections`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.table import Table

    from cdtr.corrections import ImageBoxes, Review

_SPLITS = {"train", "val", "valid", "validation", "test"}


def command(
    file: Annotated[
        Path,
        typer.Argument(
            help="Reviewed boxes: Label Studio (JSON, JSON-MIN), COCO, CVAT for images (XML), a folder of YOLO or VOC."
        ),
    ],
    boxes: Annotated[
        Path,
        typer.Option("--boxes", help="Ours that were reviewed: the --out of `cdtr localize`, or a file in it."),
    ],
    run: Annotated[
        Path | None, typer.Option("--run", help="The run, for its classes; by default those that the boxes name.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the reviewed boxes to this COCO file, to calibrate with.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="The split of the data set that the images are of, for the next step.")
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Tell what reviewers did to the boxes: how many they kept, moved, relabelled, deleted and added, by class.

    A box is kept if its class is the same and its IoU with ours is at least 0.99 or no corner is further away than half
    a pixel. An image without a box in the file was looked at and found to have none; one that is not in the file, or is
    unfinished or skipped in Label Studio, was not reviewed. Archives are unpacked first.

    Example: cdtr import-corrections export.json --boxes boxes/ --run runs/neu --out reviewed.json
    """
    from cdtr.cli._output import write_answer
    from cdtr.cli._shared import next_steps, note, require_outputs, shell
    from cdtr.corrections import compare, match_images, read_reviewed, read_written, settle_corners
    from cdtr.errors import ConfigError, DataError
    from cdtr.runs import RunFolder
    from cdtr.terminal import PlainConsole

    require_outputs(json_file)
    if out is not None and out.suffix.lower() != ".json":
        raise ConfigError(f"--out {out}: expected a name that ends with .json, as it is a COCO file")
    reference, ours = read_written(boxes, file)
    if run is not None:
        class_names = RunFolder(run).require_trained().class_names()
    else:
        class_names = ours.class_names or tuple(sorted({box.label for image in ours.images for box in image.boxes}))
    theirs = read_reviewed(file)
    written = {image.names[0]: image for image in ours.images}
    if len(written) < len(ours.images):
        raise DataError(f"{reference} has an image twice: expected the file as `cdtr localize` wrote it")
    reviewed, n_unknown = match_images(written, theirs, str(file))
    if theirs.one_based:
        reviewed, first, told = settle_corners(written, reviewed, str(file))
        reason = "as more of them lie where ours do" if told else "as is VOC's standard: where ours lie does not tell"
        note(f"corners in {file} are read as counted from {first}, {reason}")
    review = compare(written, reviewed, class_names, n_unknown)
    for what, count in theirs.unread.items():
        if count:
            note(f"passed over {count} {what}")
    print(f"{file}, beside {reference}")
    print(
        f"{review.n_reviewed} images reviewed, {review.n_not_reviewed} not"
        + (f", {n_unknown} in the file are none of ours" if n_unknown else "")
    )
    PlainConsole().print(review_table(review))
    write_answer(json_file, {"file": str(file), "boxes": str(reference), **review.to_json()})
    if out is not None:
        write_reviewed(out, reviewed, written, class_names)
        print(f"wrote {out}: {len(reviewed)} images")
        data, found = find_origin(run, reviewed)
        named = split or found
        if named is None:
            note("SPLIT below is the split of DATA that these images are of; held-out if they are training images")
        options = "--data", data, "--split", named or "SPLIT", "--boxes", out
        next_steps([shell("cdtr", "calibrate", run or "RUN", *options)])


def find_origin(run: Path | None, image_ids: Iterable[str]) -> tuple[str, str | None]:
    """The data set that the run was trained on and its split that all images are of, where both are still there.

    Else ``DATA``, and the split whose folder the names begin with, if they do. Of splits that share names it is one to
    calibrate on; training images can only be those that were held out.
    """
    from cdtr.data.datasets import load_source
    from cdtr.errors import CdtrError
    from cdtr.runs import RunFolder

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


def review_table(review: Review) -> Table:
    """Counts of each class that has a box, and of all."""
    from rich.table import Table

    from cdtr.reports.columns import add_number, add_text
    from cdtr.text import printable

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


def write_reviewed(
    path: Path, reviewed: Mapping[str, ImageBoxes], written: Mapping[str, ImageBoxes], class_names: Sequence[str]
) -> None:
    """The boxes of reviewed images as a COCO file with our names of the images; those without a box are listed."""
    import numpy as np

    from cdtr.errors import DataError
    from cdtr.exports import find_exporter
    from cdtr.records import Localization

    localizations = []
    for image_id, image in reviewed.items():
        size = image.size_hw or written[image_id].size_hw
        if size is None:
            raise DataError(f"{image_id} has no size in either file: give a COCO or CSV file of ours with --boxes")
        localizations.append(
            Localization(
                image_id=image_id,
                size_hw=size,
                boxes_xyxy=np.array([box.xyxy for box in image.boxes], dtype=np.float64).reshape(-1, 4),
                labels=np.array([class_names.index(box.label) for box in image.boxes], dtype=np.int64),
                scores=np.ones(len(image.boxes)),
                map=np.zeros((0, 0)),
                map_label=0,
                class_probs=np.zeros(0),
            )
        )
    find_exporter("coco").write(localizations, path, class_names)
