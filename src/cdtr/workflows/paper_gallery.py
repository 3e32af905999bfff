"""The figures of images in a reproduction: one trained run a row, all rows on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdtr.api import find_device, load_model
from cdtr.config import PaperGallery, Reproduction, recipe_label
from cdtr.errors import DataError
from cdtr.evaluation import Protocol, image_maps, measure_noise, scored_images
from cdtr.json_tree import parse_json
from cdtr.records import DataSource, Sample
from cdtr.reports.figures import figure_png
from cdtr.reports.gallery import choose_failures
from cdtr.reports.gallery_figure import (
    ShownData,
    ShownRun,
    gallery_data,
    gallery_figure,
    gallery_text,
    noise_data,
    noise_figure,
)
from cdtr.runs import RunFolder
from cdtr.workflows.opening import find_split
from cdtr.workflows.paper_images import Chosen, Images, RunToShow
from cdtr.workflows.paper_runs import PaperPlan, Scale, result_file, run_folder
from cdtr.workflows.report import NOISE_IMAGES, rebuild_start
from cdtr.workflows.reporting import SILENT, Reporter

FAILURE_POOL = 1000  # images among which failures are looked for
DPI = 200


def seeds_to_train(found: Reproduction, seeds: Sequence[int]) -> list[int]:
    """Return all seeds, or the first alone for a figure of images only, which shows one run a row."""
    return list(seeds[:1] if found.table.gallery and not found.table.figure else seeds)


def gallery_files(
    found: Reproduction,
    plan: PaperPlan,
    scale: Scale,
    seed: int,
    out: Path,
    rules: Mapping[str, Protocol],
    images: int | None,
    reporter: Reporter = SILENT,
) -> dict[str, str | bytes]:
    """Draw the figure, and write what it shows as CSV. A data set without a finished run is left out with a note.

    Args:
        found: The figure.
        plan: Its runs.
        scale: The data sets at hand.
        seed: Of the runs to show, and of the choice of images.
        out: The folder of the runs.
        rules: The protocol of each data set.
        images: How many a data set; None takes the figure's own number.
        reporter: Takes notes and progress.

    Returns:
        Content by file name; no PNG where nothing is finished.
    """
    spec = found.table.gallery
    if spec is None:
        return {}
    if images is not None:
        spec = spec.model_copy(update={"images": images})
    parts = []
    for data, source in scale.sources.items():
        runs, split = _finished(found, plan, data, seed, out, rules[data].name, reporter)
        try:
            part = show_runs(spec, data, found.data[data].label, runs, source, split, rules[data], seed, reporter)
        except DataError as error:
            reporter.note(f"{found.name}: {data} is left out: {error}")
            continue
        reporter.note(f"{data}: {part.rule}")
        parts.append(part)
    stem = f"{found.name}b" if found.table.figure else found.name
    files: dict[str, str | bytes] = {
        f"{stem}.md": gallery_text(found, spec, parts),
        f"{stem}.csv": gallery_data(parts),
    }
    if parts:
        files[f"{stem}.png"] = figure_png(gallery_figure(found, spec, parts), DPI)
    if "noise" in spec.panels:
        files[f"{stem}-noise.csv"] = noise_data(parts)
        figure = noise_figure(found, parts)
        if figure is not None:
            files[f"{stem}-noise.png"] = figure_png(figure)
    return files


def _finished(
    found: Reproduction, plan: PaperPlan, data: str, seed: int, out: Path, protocol: str, reporter: Reporter
) -> tuple[list[RunToShow], str]:
    """The rows' runs that are evaluated, and the split; a row without one gets a note."""
    runs, split = [], ""
    for name, row in found.table.rows_on(data).items():
        planned = plan.runs.get((data, name))
        if planned is None:
            continue
        result = result_file(out, planned, seed)
        if not result.is_file():
            reporter.note(f"{found.name}: {name} on {data} is left out: its run of seed {seed} is not done")
            continue
        tree: dict[str, Any] = parse_json(result.read_text(encoding="utf-8"))
        split = tree["split"]
        if protocol not in tree["protocols"]:
            reporter.note(f"{found.name}: {name} on {data} is left out: it was not measured under protocol {protocol}")
            continue
        evaluated = tree["protocols"][protocol]
        threshold, view = evaluated["threshold"], evaluated.get("view", "whole")
        if threshold is None:
            reporter.note(f"{found.name}: {name} on {data} is left out: it has no threshold under protocol {protocol}")
            continue
        runs.append(RunToShow(name, row.label, seed, RunFolder(run_folder(out, planned, seed)), threshold, view))
    return runs, split


def show_runs(
    spec: PaperGallery,
    data: str,
    label: str,
    runs: Sequence[RunToShow],
    source: DataSource,
    split: str,
    protocol: Protocol,
    seed: int,
    reporter: Reporter = SILENT,
) -> ShownData:
    """Run all rows on the same images of a data set.

    Args:
        spec: How images are chosen, and what is looked at.
        data: The data set's name in the CSV.
        label: Its name in the figure.
        runs: Rows of the figure, all trained on this data set.
        source: The data set.
        split: The images to choose from.
        protocol: Whose frame, boxes and IoU are used.
        seed: Of the choice.
        reporter: Takes notes and progress.

    Returns:
        The images, and what each run returns for them.

    Raises:
        DataError: Without runs, without images with boxes, or without a failure where these are asked for.
    """
    if not runs:
        raise DataError("no run is done")
    samples, max_pixels = find_split(runs[0].folder, source, split), runs[0].folder.config().data.max_pixels
    images = Images(source, split, samples, protocol, seed, max_pixels, reporter)
    chosen = _choose_random(spec, images) if spec.choose == "random" else _choose_failures(spec, runs, images)
    with reporter.progress(f"{label}: looking at the runs", len(runs)) as advance:
        shown = []
        for run in runs:
            shown.append(_look(spec, run, images, chosen.samples))
            advance(1)
    return ShownData(data, label, source.class_names, protocol, chosen.images, chosen.rule, shown, chosen.kinds)


def _choose_random(spec: PaperGallery, images: Images) -> Chosen:
    drawn = images.draw(spec.images)
    rule = f"{len(drawn)} {images.name}, drawn at random (seed {images.seed}), the same in every row."
    return Chosen(tuple(drawn), tuple(map(images.read, drawn)), rule)


def _choose_failures(spec: PaperGallery, runs: Sequence[RunToShow], images: Images) -> Chosen:
    """By ``choose_failures`` of the row ``spec.by``, among images drawn at random."""
    run = next((one for one in runs if one.row == spec.by), None)
    if run is None:
        raise DataError(f"its images are failures of the row {spec.by}, whose run is not done or was left out")
    pool = {one.image_id: one for one in images.draw(FAILURE_POOL)}
    device = find_device(None)
    method, batches = run.method(load_model(run.folder.path, device)), run.batches([*pool.values()])
    scored = scored_images(method, batches, images.source.annotate, images.protocol, run.threshold, device)
    rows = [one.row for one in scored]
    every = choose_failures(rows, len(rows))
    failures = every[: spec.images]
    if not failures:
        raise DataError(f"of {len(rows)} images, {run.label} classifies none correctly with an IoU below 0.5")
    rule = (
        f"{len(failures)} of the {len(every)} images that {run.label} classifies correctly with an IoU below 0.5, "
        f"among {len(rows)} {images.name}: of each kind of error in turn (several objects merged, too small, too "
        "large, wrong place) the one of lowest IoU. The same in every row."
    )
    samples = tuple(pool[row.image_id] for row in failures)
    kinds = tuple(str(row.error) for row in failures)
    return Chosen(samples, tuple(map(images.read, samples)), rule, kinds)


def _look(spec: PaperGallery, run: RunToShow, images: Images, chosen: Sequence[Sample]) -> ShownRun:
    """Run a row's method, and its start where the figure has that, over the chosen images."""
    device, annotate = find_device(None), images.source.annotate
    method, start, start_note = run.method(load_model(run.folder.path, device)), None, ""
    if "before" in spec.panels:
        start, start_note = rebuild_start(run.folder)
    before = None if start is None else run.method(start)
    noise = None
    if "noise" in spec.panels:
        pool = run.batches(images.draw(NOISE_IMAGES))
        noise = measure_noise(method, before, pool, annotate, device)
    batches = run.batches(chosen)
    return ShownRun(
        row=run.row,
        label=run.label,
        seed=run.seed,
        threshold=run.threshold,
        view=run.view,
        recipe=recipe_label(run.folder.config()),
        scored=list(scored_images(method, batches, annotate, images.protocol, run.threshold, device)),
        after=[] if spec.panels == ("map",) else list(image_maps(method, batches, device)),
        before=[] if before is None else list(image_maps(before, batches, device)),
        before_note=start_note,
        noise=noise,
    )
