"""Command line of `cdtr import-corrections`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from cdtr.corrections import Review


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
    from cdtr.cli._output import write_results
    from cdtr.cli._shared import TERMINAL, next_steps, note, require_outputs, shell
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.import_corrections import check_coco_name, import_corrections

    require_outputs(json_file)
    if out is not None:
        check_coco_name(out)
    found = import_corrections(file, boxes, run=run, reporter=TERMINAL)
    review = found.review
    print(f"{file}, beside {found.written_file}")
    print(
        f"{review.n_reviewed} images reviewed, {review.n_not_reviewed} not"
        + (f", {review.n_unknown} in the file are none of ours" if review.n_unknown else "")
    )
    PlainConsole().print(review_table(review))
    write_results(json_file, found.to_json())
    if out is not None:
        found.write(out)
        print(f"wrote {out}: {len(found.reviewed)} images")
        data, told = found.find_origin()
        named = split or told
        if named is None:
            note("SPLIT below is the split of DATA that these images are of; held-out if they are training images")
        options = "--data", data, "--split", named or "SPLIT", "--boxes", out
        next_steps([shell("cdtr", "calibrate", run or "RUN", *options)])


def review_table(review: Review) -> Table:
    """Make the table of counts of each class that has a box, and of all."""
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
