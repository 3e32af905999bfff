"""`cdtr data check`"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdtr.cli._options import BoxesOption, JsonOption

if TYPE_CHECKING:
    from cdtr.config import Config
    from cdtr.data.check.copies import Copies
    from cdtr.data.check.scan import BoxFacts
    from cdtr.evaluation import Protocol
    from cdtr.records import DataSource
    from cdtr.reports.data_check import DataCheck


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
    from cdtr.cli._output import write_answer
    from cdtr.cli._shared import require_folder
    from cdtr.config import load_config
    from cdtr.data.check import require_kinds
    from cdtr.data.written import mark_written
    from cdtr.reports.contact_sheet import MOST_CLASSES, class_sheet, copies_sheet, require_format, write_picture
    from cdtr.reports.data_check import classes_table, finding_lines, splits_table
    from cdtr.terminal import PlainConsole
    from cdtr.workflows.opening import reading_lines

    require_kinds(allow or ())
    if out is not None:
        require_folder(out)
    if sheet is not None:
        require_format(sheet)
    changes = [*(overrides or []), *(["data.deduplicate=true"] if deduplicate else [])]
    settings = load_config(config, changes, {"data": {"boxes": boxes}} if boxes is not None else None)
    found, copies = check_data(data, settings, near, distance, allow or ())
    console = PlainConsole()
    for table in (splits_table(found), classes_table(found)):
        console.print(table)
    for line in (*reading_lines(found.source), *finding_lines(found)):
        print(line)
    max_pixels = settings.data.max_pixels
    for path in (path for path in (sheet, out and out / "classes.jpg") if path is not None):
        write_picture(class_sheet(found, per_class, max_pixels), path)
        rest = len(found.source.class_names) - MOST_CLASSES
        print(f"wrote {path}" + (f", without the last {rest} classes" if rest > 0 else ""))
    groups = copies.unequal_groups() if out is not None else []
    if out is not None and groups:
        write_picture(copies_sheet(groups, found.source.class_names, max_pixels), out / "copies.jpg")
        print(f"wrote {out / 'copies.jpg'}")
    elif out is not None:
        (out / "copies.jpg").unlink(missing_ok=True)  # of an earlier look
    for file in (json_file, out and out / "check.json"):
        write_answer(file, found.to_json())
    if out is not None:
        mark_written(out, ["classes.jpg", "copies.jpg"])
    if sheet is not None:
        mark_written(sheet.parent, [sheet.name])
    if found.problems:
        raise typer.Exit(1)


def check_data(
    data: Path, settings: Config, near: bool, distance: int | None, allow: Sequence[str]
) -> tuple[DataCheck, Copies]:
    """Read every image and annotation of a data set, and all that is to be said of them."""
    from cdtr.cli._shared import note, progress_bar
    from cdtr.data.check import Finding
    from cdtr.data.check.boxes import find_box_faults
    from cdtr.data.check.copies import compare_images, find_duplicates
    from cdtr.data.check.images import find_class_gaps, find_faults, find_odd_pictures
    from cdtr.data.check.scan import scan_boxes, scan_images
    from cdtr.data.near_copies import NEAR
    from cdtr.data.opening import open_data
    from cdtr.evaluation import find_protocol
    from cdtr.reports.data_check import DataCheck, find_easy_boxes

    protocol = find_protocol(settings.evaluation.protocol)
    said: list[str] = []
    with collected_warnings(said):
        # What it says of copies is found again below, unless they are left out.
        say = note if settings.data.deduplicate else lambda _line: None
        source = open_data(data, settings.data, say, strict=True)
    total = sum(len(samples) for samples in source.splits.values())
    with progress_bar("reading images", total) as move:
        facts = scan_images(source, settings.data.max_pixels, near, move)
    readable = sum(one.fault is None for one in facts)
    with (
        progress_bar("reading boxes", readable) if source.annotated else nullcontext() as move,
        collected_warnings(said),
    ):
        boxes = scan_boxes(source, facts, move)
        for account in source.accounts:
            account.warn()
    with (
        progress_bar("comparing pictures", readable) if near else nullcontext() as move,
        collected_warnings(said),
    ):
        copies = compare_images(facts, NEAR if distance is None else distance, move)
    baselines = score_splits(source, boxes, protocol)
    findings = [
        *(Finding("reading", line) for line in said),
        *find_faults(facts),
        *find_class_gaps(source, facts),
        *find_duplicates(source, facts, copies),
        *find_box_faults(boxes),
        *find_easy_boxes(baselines),
        *find_odd_pictures(facts),
    ]
    return DataCheck(source, facts, boxes, baselines, findings, allow), copies


def score_splits(source: DataSource, boxes: Sequence[BoxFacts], protocol: Protocol) -> dict[str, dict[str, Any] | None]:
    """What boxes that never look at the image score, by split; None where a split has no box."""
    from cdtr.evaluation.trivial import trivial_scores

    annotated = [(one.image.split, one.image.sample, one.image.size_hw, one.annotation) for one in boxes]
    return {
        split: trivial_scores(
            ((sample, size_hw, found) for of, sample, size_hw, found in annotated if of == split and size_hw), protocol
        )
        for split in source.splits
    }


@contextmanager
def collected_warnings(said: list[str]) -> Iterator[None]:
    """Our readers' warnings, added to ``said``; those of Pillow, about single files, are shown as ever."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in warned:
        if warning.category is UserWarning and "PIL" not in Path(warning.filename).parts:
            said.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
