"""Command line of `cdtr data check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import BoxesOption, JsonOption


def command(
    data: Annotated[Path, typer.Argument(help="A folder with one folder of images a class, or a data set's root.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write check.json, classes.jpg and copies.jpg to this folder.")
    ] = None,
    json_file: JsonOption = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Draw some images of each class with their boxes (.jpg or .png).")
    ] = None,
    per_class: Annotated[int, typer.Option("--per-class", min=1, max=50, help="Images a class on that sheet.")] = 6,
    config: Annotated[
        str | None, typer.Option("--config", help="A preset or a YAML file, as the training will have it.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, such as data.max_pixels=50000000.")
    ] = None,
    boxes: BoxesOption = None,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Look at the set without the copies that training would leave out.")
    ] = False,
    near: Annotated[
        bool, typer.Option("--near/--no-near", help="Look for pictures that are alike though their files differ.")
    ] = True,
    distance: Annotated[
        int | None,
        typer.Option("--distance", min=0, max=64, help="Bits of 256 that hashes of alike pictures may differ in, 12."),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", help="A kind of finding, the word in brackets, that is no problem here; may be repeated."
        ),
    ] = None,
) -> None:
    """Look for what would spoil a training or a score, before either.

    Every image is decoded, every box compared with its image, and copies are looked for within and across the splits.
    Exit code 0: nothing of that, 1: problems were found, 2: the data set or an option cannot be used.

    Example: cdtr data check photos/ --out photos-check
    """
    from cdtr.cli._output import write_results
    from cdtr.cli._shared import TERMINAL, require_folder
    from cdtr.data.check import require_kinds
    from cdtr.image_files.written import mark_written
    from cdtr.reports.contact_sheet import MOST_CLASSES, class_sheet, copies_sheet, require_format, write_sheet
    from cdtr.reports.data_check import classes_table, finding_lines, splits_table
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.check_data import check_data
    from cdtr.workflows.opening import reading_lines

    require_kinds(allow or ())
    if out is not None:
        require_folder(out)
    if sheet is not None:
        require_format(sheet)
    changes = [*(overrides or []), *(["data.deduplicate=true"] if deduplicate else [])]
    found = check_data(
        data,
        config,
        overrides=changes,
        boxes=boxes,
        near=near,
        distance=distance,
        allow=allow or (),
        reporter=TERMINAL,
    )
    console = PlainConsole()
    for table in (splits_table(found), classes_table(found)):
        console.print(table)
    for line in (*reading_lines(found.source), *finding_lines(found)):
        print(line)
    max_pixels = found.max_pixels
    for path in (path for path in (sheet, out and out / "classes.jpg") if path is not None):
        write_sheet(class_sheet(found, per_class, max_pixels), path)
        rest = len(found.source.class_names) - MOST_CLASSES
        print(f"wrote {path}" + (f", without the last {rest} classes" if rest > 0 else ""))
    groups = found.copies.unequal_groups() if out is not None and found.copies is not None else []
    if out is not None and groups:
        write_sheet(copies_sheet(groups, found.source.class_names, max_pixels), out / "copies.jpg")
        print(f"wrote {out / 'copies.jpg'}")
    elif out is not None:
        (out / "copies.jpg").unlink(missing_ok=True)  # of an earlier look
    for file in (json_file, out and out / "check.json"):
        write_results(file, found.to_json())
    if out is not None:
        mark_written(out, ["classes.jpg", "copies.jpg"])
    if sheet is not None:
        mark_written(sheet.parent, [sheet.name])
    if found.problems:
        raise typer.Exit(1)
