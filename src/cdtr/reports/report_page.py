"""The report of a run: one page of what was trained on what, how good it is, what goes wrong, and images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cdtr.config import recipe_label
from cdtr.evaluation import AttentionNoise, Evaluation
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.torch_model import TorchModel
from cdtr.metrics.baselines import CENTRE_BOX, LARGEST_CLASS
from cdtr.records import DataSource, Sample
from cdtr.reports import run_facts
from cdtr.reports.charts import box_score_charts, noise_chart, noise_kind_rows, overlap_charts, threshold_charts
from cdtr.reports.curves import last_likeness, training_charts
from cdtr.reports.gallery import Gallery, PanelDrawer, choose_random, choose_rows
from cdtr.reports.page import write_page
from cdtr.reports.panels import Panel
from cdtr.reports.tables import (
    ALL_BASELINE_NAMES,
    BASELINE_NAMES,
    ERROR_NAMES,
    INTERVAL_NAME,
    METRIC_NAMES,
    metric_rows,
    percent,
    score_rows,
)
from cdtr.runs import RunFolder, library_versions
from cdtr.threshold import ThresholdSource

CLASSES_IN_SIGHT = 30  # more are folded away
_NOISE_IMAGES = 4
_RIVALS = {name: title.rstrip("*") for name, title in ALL_BASELINE_NAMES.items()}
_HEADLINE = ("gt_known_loc", "top1_loc", "top1_cls", "mean_recall")
_MEANINGS = {
    "correct": "the class is correct, and the box has an IoU of at least 0.5",
    "cls": "the box of the true class would be a hit, but another class was predicted",
    "m_ins": "the box covers over 0.3 of two or more true boxes",
    "part": "over half of the box lies in the true one, which is larger",
    "more": "the box covers over 0.7 of the true one, and much beside it",
    "other": "anything else",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What the images add to a report.

    samples: those that the evaluation looked at, of a split. threshold: of the map, for the boxes drawn.
    images: how many each gallery shows. before: the method as training started with it, None where that cannot be had;
    before_note says what it is, or why not. empty: the classes without an object, whose images get no box.
    """

    source: DataSource
    split: str
    samples: Sequence[Sample]
    evaluation: Evaluation
    predictor: TorchModel
    threshold: float
    images: int
    noise: AttentionNoise | None
    before: TorchModel | None
    before_note: str
    empty: EmptyClasses | None = None


class ClassRow(NamedTuple):
    """A class's line; percentages, None where there are no boxes. fault, confused: the commonest, with its count."""

    name: str
    images: int
    gt_known: float | None
    top1_loc: float | None
    top1_cls: float | None
    mean_iou: float | None
    fault: str
    confused: str


def write_report(
    run: RunFolder, shown: str, parameters: int, measured: Measured | None, absent: str, page: Path
) -> None:
    """Write one HTML file that needs no other.

    shown: the path or hub id that the run goes by. parameters: of the method. absent: why no image was looked at.
    """
    write_page("report.html", page, report_words(run, shown, parameters, measured, absent))


def report_words(run: RunFolder, shown: str, parameters: int, measured: Measured | None, absent: str) -> dict[str, Any]:
    """Everything that the template ``report.html`` says."""
    words: dict[str, Any] = {
        "name": Path(shown).resolve().name,
        "run": shown,
        "recipe": recipe_label(run.config()),
        "absent": absent,
        "written": date.today().isoformat(),
        "version": library_versions()["cdtr"],
        "tables": [
            ("Data", run_facts.data_facts(run)),
            ("Model", run_facts.model_facts(run, parameters)),
            ("Training", run_facts.training_facts(run)),
            ("Made with", run_facts.version_facts(run)),
        ],
        "modules": run_facts.modules(run),
        "training": training_charts(run),
        "config": run.config().to_yaml(),
        "columns": ["this run", INTERVAL_NAME, *ALL_BASELINE_NAMES.values()],
        "stored": _stored(run, measured),
        "thresholds": threshold_charts(None if measured is None else measured.evaluation, run.calibration()),
        "label_free": (run.calibration() or {"curve": ()}).get("curve") is None,
        "in_sight": CLASSES_IN_SIGHT,
        "likeness": last_likeness(run),
    }
    return words | (_without_images(run) if measured is None else _with_images(run, measured))


def _without_images(run: RunFolder) -> dict[str, Any]:
    records = run.log("epoch")
    held_out = (records[-1].get("held_out") or {}).get("top1_cls") if records else None
    headline = [] if held_out is None else [(f"{held_out:.1f}%", "class of held-out training images right", "")]
    notes = [text for text in (_inverted(last_likeness(run), None),) if text]
    empty: tuple[str, ...] = (
        "verdict",
        "scores",
        "errors",
        "classes",
        "overlap",
        "trust",
        "noise",
        "galleries",
        "evaluation",
    )
    return {"headline": headline, "notes": notes, "split": "", **dict.fromkeys(empty)}


def _with_images(run: RunFolder, measured: Measured) -> dict[str, Any]:
    evaluation = measured.evaluation
    drawer = PanelDrawer(
        measured.source,
        {sample.image_id: sample for sample in measured.samples},
        measured.predictor,
        measured.threshold,
        run.config().data.max_pixels,
        measured.empty,
    )
    return {
        "headline": list(_headline(evaluation)),
        "verdict": _against_baselines(evaluation),
        "notes": list(_notes(evaluation, last_likeness(run))),
        "split": measured.split,
        "evaluation": evaluation,
        "scores": _known(metric_rows(evaluation)),
        "errors": [
            (ERROR_NAMES[kind], _MEANINGS[kind], found["count"], found["percent"])
            for kind, found in evaluation.errors.items()
        ],
        "classes": list(_class_rows(evaluation, measured.source.class_names)),
        "overlap": overlap_charts(evaluation),
        "trust": {"charts": box_score_charts(evaluation), "found": evaluation.box_scores},
        "noise": _noise(measured, drawer, run.config().seed),
        "galleries": _galleries(measured, drawer, run.config().seed),
    }


def _known(rows: Iterable[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Without the metrics that the data has no annotation for."""
    return [(name, values) for name, values in rows if values[0] != percent(None)]


def _galleries(measured: Measured, drawer: PanelDrawer, seed: int) -> list[Gallery]:
    chosen = choose_rows(measured.evaluation.rows, measured.images, seed)
    return [drawer.gallery(*group) for group in chosen if group[2]]


def _headline(evaluation: Evaluation) -> Iterator[tuple[str, str, str]]:
    """(value, name, what stands beside it) of the main figures."""
    rivals = [(name, evaluation.baselines.get(name) or {}) for name in (CENTRE_BOX, LARGEST_CLASS)]
    for key in _HEADLINE:
        value = evaluation.metrics.get(key)
        if value is not None:
            beside = [f"{_RIVALS[name]} {percent(scores[key])}%" for name, scores in rivals if key in scores]
            yield f"{value:.1f}%", METRIC_NAMES[key], ", ".join(beside)


def _notes(evaluation: Evaluation, likeness: float | None) -> Iterator[str]:
    """What a reader must know before any number."""
    source = None if evaluation.map_threshold is None else evaluation.map_threshold.source
    if source is ThresholdSource.DEFAULT:
        yield (
            f"No map threshold was calibrated: boxes and scores are at {evaluation.threshold:g} of the map's maximum, "
            "a common default. `cdtr calibrate` chooses one, also without any box."
        )
    if source is ThresholdSource.ORACLE and evaluation.n_annotated:
        yield "The map threshold was chosen on images that are scored here, which flatters the scores."
    if not evaluation.n_annotated:
        yield "These images have no boxes, so only their classes are measured. Look at the images for the boxes."
    yield from filter(None, [_inverted(likeness, evaluation)])


def _against_baselines(evaluation: Evaluation) -> str:
    value, interval = evaluation.metrics.get("gt_known_loc"), evaluation.intervals.get("gt_known_loc")
    of_boxes = ((name, evaluation.baselines.get(name)) for name in BASELINE_NAMES)
    rivals = [(scores["gt_known_loc"], _RIVALS[name]) for name, scores in of_boxes if scores is not None]
    if value is None or interval is None or not rivals:
        return ""
    best, name = max(rivals)
    start = f"GT-known Loc is {value:.1f}% (95% interval {interval[0]:.1f} to {interval[1]:.1f})"
    rival = f"the best of the boxes that never look at the image ({name}, {best:.1f}%)"
    if interval[0] > best:
        return f"{start}, above {rival}."
    if interval[1] < best:
        return f"{start}, below {rival}: the maps find less than a fixed box would."
    return f"{start}, which cannot be told from {rival}."


def _inverted(likeness: float | None, evaluation: Evaluation | None) -> str:
    if likeness is not None and likeness < 0:
        return f"The attention is inverted: its correlation with the class map ended at {likeness:.2f}."
    found = evaluation.attention if evaluation is not None else None
    if found is not None and found.median_ratio < 1:
        return f"The attention is weaker in the true boxes than outside (ratio {found.median_ratio:.2f}, median)."
    return ""


def _class_rows(evaluation: Evaluation, names: Sequence[str]) -> Iterator[ClassRow]:
    """The worst first: by GT-known Loc where there are boxes, else by Top-1 Cls."""
    images = Counter(row.label for row in evaluation.rows)
    faults: dict[int, Counter[str]] = {label: Counter() for label in images}
    taken: dict[int, Counter[int]] = {label: Counter() for label in images}
    for row in evaluation.rows:
        faults[row.label].update([row.error] if row.error not in (None, "correct") else [])
        taken[row.label].update([row.predicted] if row.predicted != row.label else [])

    def score(item: tuple[int, Mapping[str, float | None]]) -> tuple[float, int]:
        first = item[1]["gt_known_loc"]
        return (first if first is not None else item[1]["top1_cls"] or 0.0), item[0]

    for label, found in sorted(evaluation.per_class.items(), key=score):
        fault, confused = faults[label].most_common(1), taken[label].most_common(1)
        yield ClassRow(
            name=names[label],
            images=images[label],
            gt_known=found["gt_known_loc"],
            top1_loc=found["top1_loc"],
            top1_cls=found["top1_cls"],
            mean_iou=found["mean_iou"],
            fault=f"{ERROR_NAMES[fault[0][0]]} ({fault[0][1]})" if fault else "-",
            confused=f"{names[confused[0][0]]} ({confused[0][1]})" if confused else "-",
        )


def _noise(measured: Measured, drawer: PanelDrawer, seed: int) -> dict[str, Any] | None:
    """How much of the attention lies outside the true boxes, in percent, and images of it."""
    noise = measured.noise
    if noise is None:
        return None
    shown: list[tuple[Panel, ...]] = drawer.attention(
        measured.before, choose_random(noise.image_ids, _NOISE_IMAGES, seed)
    )
    rows = [("area outside", noise.area), ("attention outside, before training", noise.before)]
    rows.append(("attention outside, after training", noise.after))
    quartiles = [(name, *(100 * np.percentile(shares, (25, 50, 75)))) for name, shares in rows if shares is not None]
    return {
        "n_images": len(noise.image_ids),
        "rows": quartiles,
        "less_after": noise.less_after,
        "note": measured.before_note,
        "chart": noise_chart(noise),
        "kinds": list(noise_kind_rows(noise)),
        "images": shown,
    }


def _stored(run: RunFolder, measured: Measured | None) -> list[dict[str, Any]]:
    """What `cdtr evaluate` kept, but for what the page measures itself."""
    shown = None
    if measured is not None:
        shown = measured.source.name, measured.split, measured.evaluation.protocol
    entries = [
        entry for entry in run.scores() if tuple(entry.get(key) for key in ("data", "split", "protocol")) != shown
    ]
    return [
        {
            **{
                key: entry.get(key)
                for key in ("data", "split", "protocol", "n_images", "threshold", "threshold_source")
            },
            "rows": _known(score_rows(*(entry.get(key) or {} for key in ("metrics", "intervals", "baselines")))),
        }
        for entry in entries
    ]
