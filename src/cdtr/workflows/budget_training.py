"""What boxes bring to trainings: a second stage with boxes, and a small detector that learns from them alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cdtr.data.pixels import View
from cdtr.errors import DataError
from cdtr.evaluation.few_boxes import BoolArray, BudgetPoint, score_draws, with_maps
from cdtr.evaluation.measure import ScoredBox, measure_boxes
from cdtr.metrics import localized
from cdtr.records import DataSource, FloatArray, Sample
from cdtr.runs import TARGETS, RunFolder
from cdtr.training.box_detector import SeenImages, detect, detector_cnn, see_images, settle_on, train_detector
from cdtr.workflows.budget_curves import RANDOM, REVIEW, Drawn, Look, review_helps, review_sizes
from cdtr.workflows.budget_images import BudgetImages, draw_order
from cdtr.workflows.opening import fitted_samples
from cdtr.workflows.refine import refine_with, second_stage
from cdtr.workflows.refine_targets import annotations_with_boxes, write_targets
from cdtr.workflows.reporting import SILENT, Reporter, warn_of_left_out

Chosen = dict[tuple[str, int], list[list[Sample]]]  # by order and number of boxed images, of each draw

_LABEL_FREE = 100  # images without looking at their boxes, for the threshold of a second stage


def check_second_stage(first: RunFolder, overrides: Sequence[str]) -> None:
    """Raise ConfigError for a wrong setting of a second stage, before any work."""
    second_stage(first, first.path / TARGETS, 0.5, 1, 0, overrides)


def refine_points(
    first: RunFolder,
    images: BudgetImages,
    drawn: Drawn,
    sizes: Sequence[int],
    trainings: int,
    overrides: Sequence[str],
    folder: Path,
    reporter: Reporter,
) -> list[BudgetPoint]:
    """Score second stages that learn from boxes beside the run's own maps, at their label-free thresholds.

    Gains are over the second stage that learns from the maps alone.

    Args:
        first: The run.
        images: The images with boxes.
        drawn: The run's predictions.
        sizes: Numbers of images, increasing.
        trainings: Number of draws.
        overrides: Settings of the second stage.
        folder: Where trainings lie while they are needed.
        reporter: Takes progress.
    """
    look, maps = drawn.look, folder / "maps"
    fit = fitted_samples(first, look.source)
    kind = second_stage(first, first.path / TARGETS, 0.5, len(fit), 0, overrides).refine.target
    write_targets(first, fit, {}, maps, kind, reporter)
    chosen = _chosen(first, images, drawn, sizes, trainings, reporter)
    points: list[BudgetPoint] = []
    base: BoolArray | None = None
    with reporter.progress("second stages", sum(map(len, chosen.values()))) as advance:
        for (order, size), draws in chosen.items():
            measured = []
            for some in draws:
                boxed = annotations_with_boxes(look.source, some)
                run = refine_with(first, look.source, fit, boxed, maps, folder / "run", overrides)
                measured.append(_measure_refined(run, drawn))
                shutil.rmtree(run.path)
                advance(1)
            hits, best, thresholds = zip(*measured, strict=True)
            base = hits[0] if base is None else base  # the first has no boxes
            found = score_draws("refine", order, size, np.stack(hits), base, drawn.measured.image_ids)
            points.append(with_maps(found, best, thresholds))
    return points


def detector_points(
    first: RunFolder, drawn: Drawn, sizes: Sequence[int], trainings: int, reporter: Reporter
) -> list[BudgetPoint]:
    """Score detectors that learn from boxes alone, by the best box of each measured image.

    Args:
        first: The run, whose settings say how images are read.
        drawn: The run's predictions, whose draws the detectors learn from.
        sizes: Numbers of images, increasing.
        trainings: Number of draws.
        reporter: Takes progress.
    """
    config, look = first.config(), drawn.look
    on_broken, cnn = warn_of_left_out(reporter), detector_cnn(config).to(look.device)
    draws = [drawn.rows(draw, sizes[-1]).tolist() for draw in range(trainings)]
    needed = sorted({row for rows in draws for row in rows})
    with reporter.progress("features of the detector", 2) as advance:
        taught = see_images(cnn, config, [drawn.predictions[row].sample for row in needed], True, on_broken)
        settle_on(cnn, taught)
        advance(1)
        measured = see_images(cnn, config, drawn.measured_samples, False, on_broken)
        advance(1)
    place = {row: number for number, row in enumerate(needed)}
    points = []
    with reporter.progress("detectors", len(sizes) * trainings) as advance:
        for size in sizes:
            hits = []
            for seed, rows in enumerate(draws):
                learned = [place[row] for row in rows[:size]]
                boxes = _boxes(look.source, [taught.samples[row] for row in learned])
                detector = train_detector(cnn, taught, learned, boxes, seed)
                hits.append(_detected(detect(cnn, detector, measured), measured, look))
                advance(1)
            points.append(score_draws("detector", RANDOM, size, np.stack(hits), drawn.base, drawn.measured.image_ids))
    return points


def _chosen(
    first: RunFolder, images: BudgetImages, drawn: Drawn, sizes: Sequence[int], trainings: int, reporter: Reporter
) -> Chosen:
    """The images whose boxes second stages learn from, in each draw: none, random ones, those of a review list."""
    count = len(images.fitted)
    random = [[images.fitted[row] for row in draw_order(count, draw).tolist()] for draw in range(trainings)]
    chosen: Chosen = {(RANDOM, 0): [[]]}
    chosen |= {(RANDOM, size): [order[:size] for order in random] for size in sizes}
    start, larger = review_sizes(sizes)
    reviewed = list(_reviewed_fitted(first, images, drawn, start, trainings, reporter)) if larger else []
    return chosen | {(REVIEW, size): [order[:size] for order in reviewed] for size in larger if reviewed}


def _reviewed_fitted(
    first: RunFolder, images: BudgetImages, drawn: Drawn, start: int, trainings: int, reporter: Reporter
) -> Iterator[list[Sample]]:
    """The images that the run was fitted to, in the order of a review list, for each draw; none where it has none."""
    predictions = drawn.look.predict(first, images.fitted, "images that the run was fitted to")
    for draw in range(trainings):
        try:
            threshold, quality = drawn.calibrate(drawn.rows(draw, start))
        except DataError as error:
            reporter.note(f"second stages of a review list are not measured: {error}")
            return
        helps = review_helps(drawn.look.describe(predictions, threshold), quality)
        yield [predictions[row].sample for row in np.argsort(-helps, kind="stable").tolist()]


def _measure_refined(run: RunFolder, drawn: Drawn) -> tuple[BoolArray, float, float]:
    """Which measured images are hit at the label-free threshold, MaxBoxAcc in percent, and the threshold."""
    config = run.config()
    some = [prediction.sample for prediction in drawn.predictions[:_LABEL_FREE]]
    own = replace(drawn.look, view=View.of(config.evaluation.view, config.data), reporter=SILENT)  # no bar in a bar
    free = own.sweep(own.predict(run, some, "images for the threshold")).label_free()
    measured = own.sweep(own.predict(run, drawn.measured_samples, "measured images"))
    return measured.hits(free), measured.best_rate(), free


def _detected(boxes_xyxy: FloatArray, seen: SeenImages, look: Look) -> BoolArray:
    """Which of the images (N,) are hit by their box (N, 4)."""
    ious = []
    for sample, size_hw, box in zip(seen.samples, seen.sizes_hw, boxes_xyxy.tolist(), strict=True):
        scored = [ScoredBox(sample.label, 1.0, tuple(box))]
        row = measure_boxes(sample, size_hw, scored, look.source.annotate(sample), look.protocol).row
        ious.append(row.iou_label or 0.0)
    found: BoolArray = localized(ious)
    return found


def _boxes(source: DataSource, samples: Sequence[Sample]) -> list[FloatArray]:
    found = map(source.annotate, samples)
    return [annotation.boxes_xyxy for annotation in found if annotation is not None]
