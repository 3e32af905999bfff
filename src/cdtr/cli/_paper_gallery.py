"""The pictures that `cdtr reproduce` writes: one trained run a row, all rows on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from cdtr.api import as_seen, find_device, load_model
from cdtr.cli._paper_runs import PaperPlan, Scale, result_file, run_folder
from cdtr.cli._shared import note, progress_bar, report_broken
from cdtr.config import PaperGallery, Reproduction, ViewName, recipe_label
from cdtr.data.images import read_image
from cdtr.data.loader import EvalLoader, eval_loader
from cdtr.data.pixels import View
from cdtr.errors import DataError
from cdtr.evaluation import Protocol, image_maps, measure_noise, scored_images
from cdtr.json_tree import parse_json
from cdtr.records import DataSource, Method, Sample
from cdtr.reports.figures import figure_png
from cdtr.reports.gallery import choose_failures
from cdtr.reports.paper_gallery import (
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
from cdtr.workflows.report import NOISE_IMAGES, rebuild_start

FAILURE_POOL = 1000  # images among which failures are looked for
DPI = 200


@dataclass(frozen=True, slots=True)
class RunToShow:
    """A finished run with the row that it stands for. threshold, view: those that it was evaluated with."""

    row: str
    label: str
    seed: int
    folder: RunFolder
    threshold: float
    view: ViewName

    def method(self, module: nn.Module) -> Method:
        """The run's method, or another in its place, for the images of ``batches``."""
        return as_seen(module, View.of(self.view, self.folder.config().data))

    def batches(self, samples: Sequence[Sample]) -> EvalLoader:
        return eval_loader(samples, self.folder.config(), view=self.view)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images of a data set, each with its picture; rule: in words. kinds: the error of each, where it was chosen
    for one.
    """

    samples: tuple[Sample, ...]
    pictures: tuple[Image.Image, ...]
    rule: str
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a split, from which some are chosen with ``seed``, and the protocol that they are scored under."""

    source: DataSource
    split: str
    samples: Sequence[Sample]
    protocol: Protocol
    seed: int
    max_pixels: int

    @property
    def name(self) -> str:
        return f"{self.split} images with boxes of {self.source.root.name}"

    def draw(self, count: int) -> list[Sample]:
        """Up to ``count`` readable images with boxes, at random; DataError where there is none."""
        order = np.random.default_rng(self.seed).permutation(len(self.samples))
        drawn = list(islice(self._with_boxes(order.tolist()), count))
        if not drawn:
            raise DataError(f"no image of {self.source.root} has a box")
        return drawn

    def _with_boxes(self, order: Sequence[int]) -> Iterator[Sample]:
        for sample in (self.samples[index] for index in order):
            annotation = self.source.annotate(sample)
            if annotation is None or not (len(annotation.boxes_xyxy) or annotation.mask is not None):
                continue
            try:
                self.read(sample)
            except DataError as error:
                report_broken(sample, str(error))
                continue
            yield sample

    def read(self, sample: Sample) -> Image.Image:
        return read_image(sample.path, self.max_pixels)


def seeds_to_train(found: Reproduction, seeds: Sequence[int]) -> list[int]:
    """All seeds, but the first alone for a figure of nothing but pictures, which shows one run a row."""
    return list(seeds[:1] if found.table.gallery and not found.table.figure else seeds)


def gallery_files(
    found: Reproduction,
    plan: PaperPlan,
    scale: Scale,
    seed: int,
    out: Path,
    rules: Mapping[str, Protocol],
    images: int | None,
) -> dict[str, str | bytes]:
    """The figure's pictures, and CSV of what they show; a data set without a finished run is left out with a note.

    Args:
        found: The figure.
        plan: Its runs.
        scale: The data sets at hand.
        seed: Of the runs to show, and of the choice of images.
        out: The folder of the runs.
        rules: The protocol of each data set.
        images: How many a data set; None takes the figure's own number.

    Returns:
        Content by file name; no picture where nothing is finished.
    """
    spec = found.table.gallery
    if spec is None:
        return {}
    if images is not None:
        spec = spec.model_copy(update={"images": images})
    parts = []
    for data, source in scale.sources.items():
        runs, split = _finished(found, plan, data, seed, out, rules[data].name)
        try:
            part = show_runs(spec, data, found.data[data].label, runs, source, split, rules[data], seed)
        except DataError as error:
            note(f"{found.name}: {data} is left out: {error}")
            continue
        note(f"{data}: {part.rule}")
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
    found: Reproduction, plan: PaperPlan, data: str, seed: int, out: Path, protocol: str
) -> tuple[list[RunToShow], str]:
    """The rows' runs that are evaluated, and the split; a row without one gets a note."""
    runs, split = [], ""
    for name, row in found.table.rows_on(data).items():
        planned = plan.runs.get((data, name))
        if planned is None:
            continue
        result = result_file(out, planned, seed)
        if not result.is_file():
            note(f"{found.name}: {name} on {data} is left out: its run of seed {seed} is not done")
            continue
        tree: dict[str, Any] = parse_json(result.read_text(encoding="utf-8"))
        split = tree["split"]
        if protocol not in tree["protocols"]:
            note(f"{found.name}: {name} on {data} is left out: it was not measured under protocol {protocol}")
            continue
        evaluated = tree["protocols"][protocol]
        threshold, view = evaluated["threshold"], evaluated.get("view", "whole")
        if threshold is None:
            note(f"{found.name}: {name} on {data} is left out: it has no threshold under protocol {protocol}")
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
) -> ShownData:
    """What the runs return for the same images of a data set.

    Args:
        spec: How images are chosen, and what is looked at.
        data: The data set's name in the CSV.
        label: Its name in the figure.
        runs: Rows of the figure, all trained on this data set.
        source: The data set.
        split: The images to choose from.
        protocol: Whose frame, boxes and IoU are used.
        seed: Of the choice.

    Raises:
        DataError: Without runs, without images with boxes, or without a failure where these are asked for.
    """
    if not runs:
        raise DataError("no run is done")
    samples, max_pixels = find_split(runs[0].folder, source, split), runs[0].folder.config().data.max_pixels
    images = Images(source, split, samples, protocol, seed, max_pixels)
    chosen = _choose_random(spec, images) if spec.choose == "random" else _choose_failures(spec, runs, images)
    with progress_bar(f"{label}: looking at the runs", len(runs)) as move:
        shown = []
        for run in runs:
            shown.append(_look(spec, run, images, chosen.samples))
            move(1)
    return ShownData(data, label, source.class_names, protocol, chosen.pictures, chosen.rule, shown, chosen.kinds)


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
