"""Command line of `cdtr data check`."""

from pathlib import Path
from typing import Annotated

import typer

from cdtr.cli._options import BoxesOption, DataArgument, JsonOption, option, require_folder


def command(
    data: DataArgument,
    out: Annotated[
        Path | None, option("Write check.json, classes.jpg and copies.jpg to this folder.", callback=require_folder)
    ] = None,
    json_file: JsonOption = None,
    sheet: Annotated[Path | None, option("Draw some images of each class with their boxes (.jpg or .png).")] = None,
    per_class: Annotated[int, option("Images a class on that sheet.", min=1, max=50)] = 6,
    config: Annotated[str | None, option("A preset or a YAML file, as the training will have it.")] = None,
    overrides: Annotated[list[str] | None, option("One setting, such as data.max_pixels=50000000.", "--set")] = None,
    boxes: BoxesOption = None,
    deduplicate: Annotated[bool, option("Look at the set without the copies that training would leave out.")] = False,
    near: Annotated[
        bool, option("Look for images that are alike though their files differ.", "--near/--no-near")
    ] = True,
    distance: Annotated[
        int | None, option("Bits of 256 that hashes of alike images may differ in, 12.", min=0, max=64)
    ] = None,
    allow: Annotated[
        list[str] | None, option("A kind of finding, the word in brackets, that is no problem here; may be repeated.")
    ] = None,
) -> None:
    """Look for what would spoil a training or a score, before either.

    Every image is decoded, every box compared with its image, and copies are looked for within and across the splits.
    Exit code 0: nothing of that, 1: problems were found, 2: the data set or an option cannot be used.

    Example: cdtr data check photos/ --out photos-check
    """
    from cdtr.cli._output import TERMINAL, print_lines, print_table, write_results
    from cdtr.reports.contact_sheet import require_format
    from cdtr.reports.data_check import classes_table, finding_lines, splits_table
    from cdtr.workflows.check_data import check_data, write_check
    from cdtr.workflows.opening import reading_lines

    if sheet is not None:
        require_format(sheet)
    changes = [*(overrides or []), *(["data.deduplicate=true"] if deduplicate else [])]
    found = check_data(
        data, config, overrides=changes, boxes=boxes, near=near, distance=distance, allow=allow or (), reporter=TERMINAL
    )
    print_table(splits_table(found))
    print_table(classes_table(found))
    print_lines([*reading_lines(found.source), *finding_lines(found)])
    print_lines(write_check(found, out, sheet, per_class))
    write_results(json_file, found.to_json())
    if found.problems:
        raise typer.Exit(1)
