"""Tables of evaluations for the terminal, with the trivial baselines beside them."""

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
from cdtr.metrics import all_metrics, metric_titles
from cdtr.metrics.baselines import BASELINE_TITLES, CLASS_BASELINE_TITLES
from cdtr.metrics.loc_errors import ERROR_TITLES
from cdtr.metrics.paired import PairedDifference
from cdtr.reports.columns import add_number, add_text
from cdtr.text import printable

METRIC_NAMES = metric_titles()
_OPTIONAL = {metric.key for metric in all_metrics() if metric.optional}
INTERVAL_NAME = "95% interval"
BASELINE_NAMES = BASELINE_TITLES
ALL_BASELINE_NAMES = {**BASELINE_TITLES, **CLASS_BASELINE_TITLES}
ERROR_NAMES = ERROR_TITLES

_FIGURES = re.compile(r"[-+−±–%.,\deE ]*")


def csv_text(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Format a CSV file.

    Args:
        header: Names of the columns.
        lines: Values of each line.

    Returns:
        The text of the file. Text that a spreadsheet would read as a formula is made harmless.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_as_cell(value) for value in line] for line in (header, *lines))
    return text.getvalue()


def _as_cell(value: Any) -> Any:
    """Pass text through ``to_cell``, but for numbers, such as -0.3 ± 0.1, and the dash of a missing value."""
    return value if not isinstance(value, str) or _FIGURES.fullmatch(value) else to_cell(value)


def percent(value: float | None) -> str:
    """Format a number with one decimal; a dash if there is none."""
    return "-" if value is None else f"{value:.1f}"


def metric_rows(evaluation: Evaluation) -> Iterator[tuple[str, list[str]]]:
    """List the rows of a table of metrics; see ``score_rows``."""
    return score_rows(evaluation.metrics, evaluation.intervals, evaluation.baselines)


def score_rows(
    metrics: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float] | None],
    baselines: Mapping[str, Mapping[str, Any] | None],
) -> Iterator[tuple[str, list[str]]]:
    """List the rows of a table of metrics.

    Args:
        metrics: Value of each metric by key, as in an ``Evaluation`` and in ``scores.json``.
        intervals: Lower and upper end by key.
        baselines: Scores of each baseline, by key.

    Yields:
        Title of each metric, and its cells: value, 95% interval, and the value of each baseline.
    """
    of_baselines: list[Mapping[str, Any]] = [baselines.get(name) or {} for name in ALL_BASELINE_NAMES]
    for key, name in METRIC_NAMES.items():
        if key in metrics and is_shown(key, metrics[key]):
            interval = intervals.get(key)
            between = "-" if interval is None else f"{interval[0]:.1f}–{interval[1]:.1f}"
            yield name, [percent(metrics[key]), between, *(percent(scores.get(key)) for scores in of_baselines)]


def is_shown(key: str, *values: float | None) -> bool:
    """Whether tables show a metric of these values: an optional one needs a value in one of them."""
    return key not in _OPTIONAL or any(value is not None for value in values)


def of_recipe(*evaluations: Evaluation) -> str:
    """Name the recipe of the evaluated run, for the end of a title.

    Args:
        evaluations: Of one run.

    Returns:
        Such as ``", recipe small"``; empty for maps that are of no run.
    """
    labels = dict.fromkeys(one.recipe for one in evaluations if one.recipe)
    return "".join(f", recipe {label}" for label in labels)


def metrics_table(evaluation: Evaluation) -> Table:
    """Build the table of an evaluation, one row for each metric."""
    title = f"percent, protocol {evaluation.protocol}, view {evaluation.view}{of_recipe(evaluation)}"
    table = Table(title=title, title_justify="left")
    add_text(table, "metric")
    for column in ("this run", INTERVAL_NAME, *ALL_BASELINE_NAMES.values()):
        add_number(table, column)
    for name, values in metric_rows(evaluation):
        table.add_row(name, *values)
    return table


def protocols_table(evaluations: Sequence[Evaluation]) -> Table:
    """Build the table of one run under several protocols; baselines and oracle are given by GT-known Loc."""
    table = Table(title=f"percent, the same run under each protocol{of_recipe(*evaluations)}", title_justify="left")
    add_text(table, "")
    for evaluation in evaluations:
        add_number(table, evaluation.protocol)
    for key, name in METRIC_NAMES.items():
        values = [evaluation.metrics.get(key) for evaluation in evaluations]
        if is_shown(key, *values):
            table.add_row(name, *map(percent, values))
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
    """Build the table of each class's metrics, the lowest GT-known Loc first."""
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
    """Build the table of two runs' differences.

    Args:
        differences: From ``compare_rows``.
        recipes: Labels of the first and the second run's recipe.
    """
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
    """Describe an evaluation in lines: images, threshold, errors, scores of boxes, attention, oracle and warnings."""
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
            f"ECE {percent(found.ece)}, AURC {found.aurc:.2f}{auroc}"
        )
    if evaluation.attention is not None:
        on = evaluation.attention
        yield (
            f"attention: {on.median_ratio:.2f} times as strong in the true boxes as outside (median), inverted on "
            f"{percent(on.inverted)} percent of the images"
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
