"""Measure on a user's own images what a few boxes bring, and so how many to draw."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdtr.errors import ConfigError, DataError
from cdtr.evaluation.few_boxes import BudgetPoint
from cdtr.files import atomic_folder, write_atomic, write_json
from cdtr.reports.budget_page import advice, budget_csv, budget_rows, write_budget_page
from cdtr.reports.notebook import html_table
from cdtr.runs import RunFolder
from cdtr.workflows.budget_curves import Drawn, Look, calibration_points
from cdtr.workflows.budget_images import BudgetImages, budget_images, check_sizes
from cdtr.workflows.budget_priors import check_priors, prior_points
from cdtr.workflows.budget_training import check_second_stage, detector_points, refine_points
from cdtr.workflows.opening import DataLike, RunLike, resolve_data, resolve_run
from cdtr.workflows.reporting import SILENT, Reporter

SIZES = (0, 10, 20, 50, 100, 200)
JSON_FILE, CSV_FILE, PAGE_FILE = "budget.json", "budget.csv", "index.html"


@dataclass(frozen=True, slots=True, repr=False)
class Budget:
    """What a few boxes bring, as ``budget`` measured it.

    Attributes:
        run: The run.
        folder: Where the table and the page are.
        points: Each way of using boxes at each number of boxed images.
        drawn: The number of images that were drawn from.
        measured: The number of images that were measured on, never drawn.
        of_fitted: How many of the measured images the run was fitted to, by their labels.
    """

    run: RunFolder
    folder: Path
    points: tuple[BudgetPoint, ...]
    drawn: int
    measured: int
    of_fitted: int

    @property
    def advice(self) -> str:
        """How many boxes to draw, in a line."""
        return "; ".join(advice(self.points)) or "nothing was measured beside the run without boxes"

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values, as ``budget.json`` holds them."""
        return {
            "run": str(self.run.path),
            "advice": self.advice,
            "drawn_from": self.drawn,
            "measured_on": self.measured,
            "measured_fitted": self.of_fitted,
            "points": [point.to_json() for point in self.points],
        }

    def __repr__(self) -> str:
        """The run and the advice."""
        return f"{type(self).__name__}({self.run.path}: {self.advice})"

    def _repr_html_(self) -> str:
        header, rows = budget_rows(self.points)
        return html_table(f"{self.run.path}: {self.advice}", header, rows)


def budget(
    run: RunLike,
    data: DataLike,
    out: str | Path,
    *,
    boxes: str | None = None,
    split: str | None = None,
    sizes: str | Sequence[int] | None = None,
    draws: int = 20,
    priors: bool = False,
    refine: bool = False,
    detector: bool = False,
    trainings: int = 3,
    overrides: Sequence[str] = (),
    device: str | None = None,
    reporter: Reporter = SILENT,
) -> Budget:
    """Measure what 10, 20, 50, ... images with boxes bring, on other images with boxes.

    Half of the images with boxes, always the same ones, measure and choose nothing. Of the others some are drawn, again
    and again: they choose the map threshold, and where asked for the object prior, teach a second stage, or teach a
    detector that sees nothing else. The maps of the run are computed once. The run stays as it is.

    Args:
        run: a run folder, its path, or a hub id.
        data: the data set that the run was trained on, as a path or opened.
        out: the folder to write: ``budget.csv``, ``budget.json`` and a page, ``index.html``.
        boxes: a file or folder of boxes of some images; None takes those of the data set.
        split: the split whose images are taken, where names are those of several splits; None takes all.
        sizes: the numbers of boxed images, increasing; also as text with commas. None takes 10, 20, 50, 100 and 200 as
            far as there are images; no box at all is always measured.
        draws: of images for thresholds and priors.
        priors: measure the choice of the object prior too, for a run on a frozen CNN.
        refine: train second stages with boxes, ``trainings`` at each size.
        detector: train small detectors on the boxes alone, ``trainings`` at each size.
        trainings: draws of images for what is trained.
        overrides: settings of the second stage, such as ``train.epochs=4``.
        device: where to compute; None takes CUDA where there is one.
        reporter: takes notes and progress.

    Returns:
        The scores, and how many boxes to draw.

    Raises:
        ConfigError: an option is wrong, or something is in the way of ``out``.
        DataError: too few images have boxes, or ``sizes`` are wrong.

    Example:
        ``cdtr.budget("runs/one", "photos", "budget", boxes="reviewed.json").advice``
    """
    folder = Path(out)
    _check(folder, draws, trainings, refine, overrides)
    first = resolve_run(run)
    source = resolve_data(first, data, boxes, split, reporter)
    if priors:
        check_priors(first)
    if refine:
        check_second_stage(first, overrides)
    images = budget_images(first, source, split, boxes, refine, reporter)
    asked = check_sizes(sizes, len(images.drawn), SIZES, reporter)
    taught = _taught_sizes(first, images, asked, reporter) if refine else ()
    drawn = _drawn(first, images, Look.of(first, source, device, reporter))
    points = calibration_points(drawn, asked, draws, reporter)
    if priors:
        points += prior_points(first, drawn, asked, draws, reporter)
    if detector:
        points += detector_points(first, drawn, asked, trainings, reporter)
    if refine:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".budget-", dir=folder.parent) as work:
            points += refine_points(first, images, drawn, taught, trainings, overrides, Path(work), reporter)
    counts = len(drawn.predictions), len(drawn.measured_predictions), images.of_fitted
    found = Budget(first, folder, tuple(points), *counts)
    _write(found)
    return found


def _check(folder: Path, draws: int, trainings: int, refine: bool, overrides: Sequence[str]) -> None:
    if draws < 1 or trainings < 1:
        raise ConfigError(f"`draws={draws}`, `trainings={trainings}`: expected at least one of each")
    if overrides and not refine:
        raise ConfigError("`overrides=` are settings of the second stage: give `refine=True` too, or leave them out")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is no empty folder: choose another `out=`")


def _taught_sizes(first: RunFolder, images: BudgetImages, sizes: Sequence[int], reporter: Reporter) -> tuple[int, ...]:
    """The sizes for which a second stage has boxes, which must be of images that the run was fitted to."""
    found = tuple(size for size in sizes if size <= len(images.fitted))
    those = f"{len(images.fitted)} images that {first.path} was fitted to have boxes"
    if not found:
        raise DataError(f"{those}, from which alone a second stage learns: box {sizes[0]}, or leave `refine=` out")
    if len(found) < len(sizes):
        reporter.note(f"{those}: second stages with more are left out")
    return found


def _drawn(first: RunFolder, images: BudgetImages, look: Look) -> Drawn:
    """Predict the maps of all images once."""
    some = look.predict(first, images.drawn, "images to draw from")
    others = look.predict(first, images.measured, "images to measure on")
    return Drawn(look, some, look.sweep(some), others, look.sweep(others))


def _write(found: Budget) -> None:
    with atomic_folder(found.folder, JSON_FILE) as folder:
        write_json(folder / JSON_FILE, found.to_json())
        write_atomic(folder / CSV_FILE, budget_csv(found.points))
        write_budget_page(folder / PAGE_FILE, found.points, str(found.run.path), found.drawn, found.measured)
