"""Look for what would spoil a training or a score, before either."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cdtr.config import Config, load_config
from cdtr.data.check import Finding, require_kinds
from cdtr.data.check.box_findings import find_box_faults
from cdtr.data.check.copies import compare_images, find_duplicates
from cdtr.data.check.image_findings import find_class_gaps, find_faults, find_odd_images
from cdtr.data.check.scan import BoxFacts, scan_boxes, scan_images
from cdtr.data.empty_classes import empty_labels, suggested_empty, suggestion
from cdtr.data.near_copies import NEAR
from cdtr.data.opening import open_data
from cdtr.evaluation import Protocol, find_protocol
from cdtr.evaluation.trivial import trivial_scores
from cdtr.image_files.written import mark_written
from cdtr.records import DataSource
from cdtr.reports.contact_sheet import MOST_CLASSES, class_sheet, copies_sheet, write_sheet
from cdtr.reports.data_check import DataCheck, find_easy_boxes
from cdtr.runs import write_json
from cdtr.workflows.reporting import SILENT, Reporter


def check_data(
    data: str | Path,
    config: str | Path | Config | None = None,
    *,
    overrides: Sequence[str] = (),
    boxes: str | None = None,
    near: bool = True,
    distance: int | None = None,
    allow: Sequence[str] = (),
    reporter: Reporter = SILENT,
) -> DataCheck:
    """Read every image and annotation of a data set, and look for faults, copies, and boxes that are easy to guess.

    Args:
        data: a folder with one folder of images a class, or the root of a data set.
        config: a preset, a YAML file or a configuration, as the training will have it.
        overrides: settings over it, such as ``data.max_pixels=50000000``.
        boxes: a file or folder of boxes, where they do not lie in the data set.
        near: also look for images that are alike though their files differ.
        distance: bits of 256 in which hashes of alike images may differ; None takes 12.
        allow: kinds of findings that are no problem here.
        reporter: takes notes and progress.

    Returns:
        Everything that was found; ``problems`` are the findings that would spoil a training or a score.

    Raises:
        ConfigError: a setting or a kind of finding is unknown.
        DataError: the data set cannot be read.

    Example:
        ``cdtr.check_data("photos").problems``
    """
    require_kinds(allow)
    settings = _settings(config, overrides, boxes)
    protocol = find_protocol(settings.evaluation.protocol)
    said: list[str] = []
    with _collected_warnings(said):
        # What it says of copies is found again below, unless they are left out.
        say = reporter.note if settings.data.deduplicate else SILENT.note
        source = open_data(Path(data), settings.data, say, strict=True)
    total = sum(len(samples) for samples in source.splits.values())
    with reporter.progress("reading images", total) as advance:
        facts = scan_images(source, settings.data.max_pixels, near, advance)
    readable = sum(one.fault is None for one in facts)
    with (
        reporter.progress("reading boxes", readable) if source.annotated else nullcontext() as advance,
        _collected_warnings(said),
    ):
        found = scan_boxes(source, facts, advance)
        for account in source.accounts:
            account.warn()
    with (
        reporter.progress("comparing images", readable) if near else nullcontext() as advance,
        _collected_warnings(said),
    ):
        copies = compare_images(facts, NEAR if distance is None else distance, advance)
    baselines = _score_splits(source, found, protocol)
    empty = empty_labels(settings.data.empty_classes, source.class_names, str(source.root))
    hint = suggestion(source.class_names)
    findings = [
        *(Finding("reading", line) for line in said),
        *find_faults(facts),
        *find_class_gaps(source, facts),
        *find_duplicates(source, facts, copies),
        *find_box_faults(found, empty),
        *([] if empty or hint is None else [Finding("no-object", hint, tuple(suggested_empty(source.class_names)))]),
        *find_easy_boxes(baselines),
        *find_odd_images(facts),
    ]
    return DataCheck(source, facts, found, baselines, findings, allow, copies, settings.data.max_pixels)


def write_check(
    found: DataCheck, out: Path | None = None, sheet: Path | None = None, per_class: int = 6
) -> Iterator[str]:
    """Write what was found, and draw images of it.

    Args:
        found: the result of ``check_data``.
        out: the folder of ``check.json``, ``classes.jpg`` and ``copies.jpg``.
        sheet: a file with some images of each class and their boxes.
        per_class: images of a class in it.

    Yields:
        A line for each file.
    """
    for path in (path for path in (sheet, out and out / "classes.jpg") if path is not None):
        write_sheet(class_sheet(found, per_class, found.max_pixels), path)
        rest = len(found.source.class_names) - MOST_CLASSES
        yield f"wrote {path}" + (f", without the last {rest} classes" if rest > 0 else "")
    if sheet is not None:
        mark_written(sheet.parent, [sheet.name])
    if out is None:
        return
    copies = out / "copies.jpg"
    groups = found.copies.unequal_groups() if found.copies is not None else []
    if groups:
        write_sheet(copies_sheet(groups, found.source.class_names, found.max_pixels), copies)
        yield f"wrote {copies}"
    else:
        copies.unlink(missing_ok=True)  # of an earlier look
    write_json(out / "check.json", found.to_json())
    yield f"wrote {out / 'check.json'}"
    mark_written(out, ["classes.jpg", "copies.jpg"])


def _settings(config: str | Path | Config | None, overrides: Sequence[str], boxes: str | None) -> Config:
    changes: dict[str, Any] = {"data": {"boxes": boxes}} if boxes is not None else {}
    if isinstance(config, Config):
        return load_config(None, overrides, config.updated(**changes).model_dump(mode="json"))
    return load_config(config, overrides, changes)


def _score_splits(
    source: DataSource, boxes: Sequence[BoxFacts], protocol: Protocol
) -> dict[str, dict[str, Any] | None]:
    """The scores of boxes that ignore the image, by split; None where a split has no box."""
    annotated = [(one.image.split, one.image.sample, one.image.size_hw, one.annotation) for one in boxes]
    return {
        split: trivial_scores(
            ((sample, size_hw, found) for of, sample, size_hw, found in annotated if of == split and size_hw), protocol
        )
        for split in source.splits
    }


@contextmanager
def _collected_warnings(said: list[str]) -> Iterator[None]:
    """Add the warnings of our readers to ``said``; those of Pillow, about single files, are shown as ever."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in warned:
        if warning.category is UserWarning and "PIL" not in Path(warning.filename).parts:
            said.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
