"""The quickstart's page: what was done, the scores, and pictures that nobody picked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from cdtr.data.images import read_image
from cdtr.evaluation import Evaluation
from cdtr.localization.predictor import Predictor
from cdtr.metrics.loc_accuracy import ImageRow
from cdtr.records import DataSource, Sample
from cdtr.reports.curves import loss_curve
from cdtr.reports.figures import box_score_figure, figure_uri
from cdtr.reports.panels import PanelRow, panel_row
from cdtr.reports.tables import BASELINE_NAMES, INTERVAL_NAME, metric_rows
from cdtr.runs import RunFolder, write_atomic

RANDOM_IMAGES = 8
EXTREME_IMAGES = 4


@dataclass(frozen=True, slots=True)
class QuickstartResult:
    """What the page tells of. seconds: of each step that this call had to do."""

    run: RunFolder
    source: DataSource
    samples: Sequence[Sample]
    evaluation: Evaluation
    seconds: dict[str, float]
    seed: int


def write_quickstart(result: QuickstartResult, predictor: Predictor, page: Path) -> None:
    """Write one HTML file that needs no other."""
    chosen = choose_rows(result.evaluation.rows, result.seed)
    galleries = [(title, note, _panels(result, predictor, rows)) for title, note, rows in chosen]
    environment = Environment(loader=PackageLoader("cdtr.reports", "."), autoescape=True, undefined=StrictUndefined)
    html = environment.get_template("quickstart.html").render(**_words(result), galleries=galleries)
    write_atomic(page, html)


def choose_rows(rows: Sequence[ImageRow], seed: int) -> list[tuple[str, str, list[ImageRow]]]:
    """(title, note, rows): some at random, and the best and the worst by the IoU of the predicted class's box."""
    order = np.random.default_rng(seed).permutation(len(rows))[:RANDOM_IMAGES]
    galleries = [("Random validation images", "Drawn at random, not picked.", [rows[index] for index in order])]
    measured = [(row.iou_predicted, row) for row in rows if row.iou_predicted is not None]
    ranked = [row for _, row in sorted(measured, key=lambda pair: -pair[0])]
    if ranked:
        galleries.append(("The best", "Highest overlap with the true box.", ranked[:EXTREME_IMAGES]))
        galleries.append(("The worst", "Lowest overlap, worst first.", ranked[::-1][:EXTREME_IMAGES]))
    return galleries


def _panels(result: QuickstartResult, predictor: Predictor, rows: Sequence[ImageRow]) -> list[PanelRow]:
    by_id = {sample.image_id: sample for sample in result.samples}
    max_pixels = result.run.config().data.max_pixels
    panels = []
    for row in rows:
        sample = by_id[row.image_id]
        picture, annotation = read_image(sample.path, max_pixels), result.source.annotate(sample)
        panels.append(panel_row(predictor, picture, sample, annotation, row.iou_predicted))
    return panels


def _box_scores(evaluation: Evaluation) -> dict[str, Any] | None:
    """The figure and the numbers of the boxes' scores; None where they have none."""
    figure, found = box_score_figure(evaluation), evaluation.box_scores
    if figure is None or found is None:
        return None
    return {"figure": figure_uri(figure), "hit_rate": found.hit_rate, "best": found.accuracy_at}


def _words(result: QuickstartResult) -> dict[str, Any]:
    config, manifest = result.run.config(), result.run.manifest()
    return {
        "classes": result.source.class_names,
        "images": {name: part["images"] for name, part in manifest["splits"].items()},
        "n_val": result.evaluation.n_images,
        "epochs": config.train.epochs,
        "sba": bool(config.sba.enabled),
        "clip_fit": manifest["clip_fit"],
        "evaluation": result.evaluation,
        "columns": ["this run", INTERVAL_NAME, *BASELINE_NAMES.values()],
        "scores": list(metric_rows(result.evaluation)),
        "curve": loss_curve(result.run),
        "box_scores": _box_scores(result.evaluation),
        "seconds": result.seconds,
        "run": result.run.path.as_posix(),
        "version": manifest["versions"]["cdtr"],
        "seed": result.seed,
    }
