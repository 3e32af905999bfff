"""An evaluation as a table for the terminal, with the baselines beside it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from cdtr.csv_cells import to_cell
from cdtr.evaluation import Evaluation
from cdtr.metrics.paired import PairedDifference
from cdtr.reports.columns import add_number, add_text
from cdtr.text import printable

METRIC_NAMES = {
    "gt_known_loc": "GT-known Loc",
    "gt_known_loc_iou70": "GT-known Loc at IoU 0.7",
    "top1_loc": "Top-1 Loc",
    "top5_loc": "Top-5 Loc",
    "top1_cls": "Top-1 Cls",
    "top5_cls": "Top-5 Cls",
    "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2",
    "pxap": "PxAP",
    "mean_iou": "mean IoU",
    "median_iou": "median IoU",
}
INTERVAL_NAME = "95% interval"
BASELINE_NAMES = {
    "full_image": "whole image",
    "centre_box": "centred box*",
    "centre_box_per_class": "centred box a class*",
}
ERROR_NAMES = {
    "right": "right",
    "class": "right box but wrong class",
    "several": "several objects merged",
    "part": "too small, a part",
    "background": "too large, background",
    "place": "wrong place",
}


_FIGURES = re.compile(r"[-+−±–%.,\deE ]*")


def csv_text(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A CSV file's text."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_as_cell(value) for value in line] for line in (header, *lines))
    return text.getvalue()


def _as_cell(value: Any) -> Any:
    """A name as ``to_cell`` has it; figures, such as -0.3 ± 0.1, and the dash for none stay."""
    return value if not isinstance(value, str) or _FIGURES.fullmatch(value) else to_cell(value)


def percent(value: float | None) -> str:
    """One decimal, a dash where there is no number."""
    return "-" if value is None else f"{value:.1f}"


def metric_rows(evaluation: Evaluation) -> Iterator[tuple[str, list[str]]]:
    """Name, the run's number, its 95% interval, then one a baseline; all in percent."""
    return score_rows(evaluation.metrics, evaluation.intervals, evaluation.baselines)


def score_rows(
    metrics: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float] | None],
    baselines: Mapping[str, Mapping[str, Any] | None],
) -> Iterator[tuple[str, list[str]]]:
    """The same for numbers as an ``Evaluation`` or a run's ``scores.json`` holds them."""
    of_baselines: list[Mapping[str, Any]] = [baselines.get(name) or {} for name in BASELINE_NAMES]
    for key, name in METRIC_NAMES.items():
        if key in metrics:
            interval = intervals.get(key)
            between = "-" if interval is None else f"{interval[0]:.1f}–{interval[1]:.1f}"
            yield name, [percent(metrics[key]), between, *(percent(scores.get(key)) for scores in of_baselines)]


def of_recipe(*evaluations: Evaluation) -> str:
    """The recipe of what was evaluated, for the end of a title.

    Args:
        evaluations: Of one run.

    Returns:
        Such as ``", recipe small"``; empty for maps that are of no run.
    """
    labels = dict.fromkeys(one.recipe for one in evaluations if one.recipe)
    return "".join(f", recipe {label}" for label in labels)


def metrics_table(evaluation: Evaluation) -> Table:
    """Metrics in percent, one row each."""
    title = f"percent, protocol {evaluation.protocol}, view {evaluation.view}{of_recipe(evaluation)}"
    table = Table(title=title, title_justify="left")
    add_text(table, "metric")
    for column in ("this run", INTERVAL_NAME, *BASELINE_NAMES.values()):
        add_number(table, column)
    for name, values in metric_rows(evaluation):
        table.add_row(name, *values)
    return table


def protocols_table(evaluations: Sequence[Evaluation]) -> Table:
    """One run under several protocols side by side, each with its baselines; GT-known Loc where not said."""
    table = Table(title=f"percent, the same run under each protocol{of_recipe(*evaluations)}", title_justify="left")
    add_text(table, "")
    for evaluation in evaluations:
        add_number(table, evaluation.protocol)
    for key, name in METRIC_NAMES.items():
        table.add_row(name, *(percent(evaluation.metrics.get(key)) for evaluation in evaluations))
    table.add_section()
    for key, name in BASELINE_NAMES.items():
        scores = [(evaluation.baselines.get(key) or {}).get("gt_known_loc") for evaluation in evaluations]
        table.add_row(name, *(percent(score) for score in scores))
    oracles = [(evaluation.oracle or {}).get("gt_known_loc") for evaluation in evaluations]
    table.add_row("best threshold here*", *(percent(score) for score in oracles))
    table.add_section()
    thresholds = ["-" if one.threshold is None else f"{one.threshold:.3g}" for one in evaluations]
    table.add_row("map threshold", *thresholds)
    table.add_row("view", *(one.view for one in evaluations))
    table.caption = "\n".join(
        [f"{one.protocol}: {one.threshold_source or 'no threshold'}" for one in evaluations]
        + ["* chosen on the evaluated images, which flatters it; protocols are not comparable"]
    )
    table.caption_justify = "left"
    return table


def per_class_table(evaluation: Evaluation, class_names: Sequence[str]) -> Table:
    """The accuracies of each class, the worst GT-known Loc first."""
    table = Table(title=f"percent a class, protocol {evaluation.protocol}{of_recipe(evaluation)}", title_justify="left")
    add_text(table, "class")
    keys = ("gt_known_loc", "top1_loc", "top1_cls", "mean_iou")
    for key in ("images", *(METRIC_NAMES[key] for key in keys)):
        add_number(table, key)
    counts = Counter(row.label for row in evaluation.rows)
    by_score = sorted(evaluation.per_class.items(), key=lambda item: (item[1]["gt_known_loc"] or 0.0, item[0]))
    for label, scores in by_score:
        table.add_row(printable(class_names[label]), str(counts[label]), *(percent(scores[key]) for key in keys))
    return table


def differences_table(differences: Sequence[PairedDifference], recipes: tuple[str, str]) -> Table:
    """Two runs beside each other, b minus a with its interval, and the test's p-value. recipes: the runs' labels."""
    first, second = recipes
    shown = f"recipe {first}" if first == second else f"a of recipe {first}, b of recipe {second}"
    table = Table(title=f"percent, {shown}", title_justify="left")
    add_text(table, "metric")
    for column in ("a", "b", "b - a", INTERVAL_NAME, "p"):
        add_number(table, column)
    add_text(table, "test")
    for one in differences:
        between = f"{one.low:+.1f} to {one.high:+.1f}"
        p_value = f"{one.p_value:.3f}" if one.p_value >= 0.001 else "< 0.001"
        values = (percent(one.a), percent(one.b), f"{one.difference:+.1f}", between, p_value, one.test)
        table.add_row(METRIC_NAMES[one.metric], *values)
    return table


def summary_lines(evaluation: Evaluation) -> Iterator[str]:
    """What the numbers were measured on and with, and what must not be mistaken for them."""
    yield f"{evaluation.n_images} images, {evaluation.n_annotated} of them with boxes"
    if evaluation.threshold is not None:
        yield f"threshold {evaluation.threshold:.3g}, {evaluation.threshold_source}"
    if evaluation.errors:
        shares = (f"{ERROR_NAMES[kind]} {percent(found['percent'])}" for kind, found in evaluation.errors.items())
        yield f"boxes, in percent: {', '.join(shares)}"
    if evaluation.box_scores is not None:
        found = evaluation.box_scores
        best = ", ".join(f"{percent(rate)} of the best-scored {share:.0%}" for share, rate in found.accuracy_at.items())
        auroc = "" if found.auroc is None else f", AUROC {found.auroc:.2f}"
        yield (
            f"scores of boxes: {percent(found.hit_rate)} of all are hits, {best}; "
            f"calibration error {percent(found.calibration_error)}{auroc}"
        )
    if evaluation.attention is not None:
        on = evaluation.attention
        yield (
            f"attention: {on.median_ratio:.2f} times as strong in the true boxes as outside (median), inside out on "
            f"{percent(on.inside_out)} percent of the images"
        )
    if evaluation.n_annotated:
        yield "* chosen on the evaluated images, which flatters it"
    if evaluation.oracle is not None:
        oracle = evaluation.oracle
        top1 = "" if oracle["top1_loc"] is None else f" and Top-1 Loc {percent(oracle['top1_loc'])}"
        yield (
            f"oracle, not a fair score: threshold {oracle['threshold']:.2f}, the best on these very images, gives "
            f"GT-known Loc {percent(oracle['gt_known_loc'])}{top1}"
        )
    for text in evaluation.notes:
        yield f"note: {text}"
