"""Figures of an evaluation: threshold curve, IoU (the paper's Fig. 5), precision and recall, scores of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cdtr.evaluation import Evaluation
from cdtr.evaluation.result import Curves
from cdtr.image_files.written import mark_written
from cdtr.metrics import LOC_IOU
from cdtr.metrics.selective import Selective
from cdtr.runs import write_atomic


def write_figures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write a PNG for each figure that the evaluation has numbers for.

    Args:
        evaluation: What to draw.
        folder: Where to write.

    Returns:
        The files written.
    """
    figures = {
        "threshold": threshold_curve(evaluation),
        "iou": iou_distribution(evaluation),
        "precision-recall": precision_recall_curve(evaluation),
        "box-scores": box_score_figure(evaluation),
    }
    written = []
    for name, figure in figures.items():
        if figure is not None:
            path = folder / f"{evaluation.protocol}-{name}.png"
            write_atomic(path, figure_png(figure))
            written.append(path)
    mark_written(folder, [path.name for path in written])
    return written


def figure_png(figure: Figure, dpi: int = 130) -> bytes:
    """Render a figure as PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def threshold_curve(evaluation: Evaluation) -> Figure | None:
    """Draw hits over the map threshold at each IoU level, for the largest contour and for all contours."""
    curves = evaluation.curves
    if curves is None:
        return None
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    both: list[Axes] = list(figure.subplots(1, 2, sharey=True))
    for axes, rates, name in zip(both, (curves.single, curves.multi), ("largest contour", "all contours"), strict=True):
        draw_hits(axes, curves, rates)
        draw_threshold(axes, evaluation.threshold)
        axes.set(title=name)
    both[0].set(ylabel="hits, % of images")
    both[1].legend(fontsize="small")
    return figure


def iou_distribution(evaluation: Evaluation) -> Figure | None:
    """Draw the histogram of the IoU of the true class's box, with its quartiles and the level of a hit."""
    ious = label_ious(evaluation)
    if not ious:
        return None
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes: Axes = figure.subplots()
    draw_ious(axes, ious)
    axes.set(title=f"IoU of {len(ious)} images")
    return figure


def precision_recall_curve(evaluation: Evaluation) -> Figure | None:
    """Draw precision over recall of the pixels; the area below is PxAP."""
    curves = evaluation.curves
    if curves is None or curves.precision is None or curves.recall is None:
        return None
    figure = Figure(figsize=(4.4, 3.4), layout="constrained")
    axes: Axes = figure.subplots()
    draw_precision_recall(axes, curves)
    axes.set(title=f"PxAP {evaluation.metrics['pxap']:.1f}")
    return figure


def box_score_figure(evaluation: Evaluation) -> Figure | None:
    """Draw the reliability diagram of the boxes' scores, and risk over coverage."""
    found = evaluation.box_scores
    if found is None:
        return None
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    reliability, risk = figure.subplots(1, 2)
    draw_reliability(reliability, found)
    reliability.set(title=f"ECE {found.ece:.1f}%")
    draw_risk(risk, found)
    risk.set(title=f"misses among the best-scored, AURC {found.aurc:.2f}")
    return figure


def label_ious(evaluation: Evaluation) -> list[float]:
    """List the IoU of the true class's box, for the images that have one."""
    return [row.iou_label for row in evaluation.rows if row.iou_label is not None]


def draw_hits(axes: Axes, curves: Curves, rates: np.typing.NDArray[np.float64]) -> None:
    """Draw rates (L, T), in percent, over the map threshold."""
    for level, rate in zip(curves.iou, rates, strict=True):
        axes.plot(curves.thresholds, rate, label=f"IoU ≥ {level / 100:.1f}")
    axes.set(xlabel="map threshold", xlim=(0, 1), ylim=(0, 100))
    tidy(axes)


def draw_threshold(axes: Axes, threshold: float | None) -> None:
    """Mark the map threshold in use, if there is one."""
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label="threshold in use")


def draw_ious(axes: Axes, ious: Sequence[float]) -> None:
    """Draw the histogram of IoUs in [0, 1]."""
    axes.hist(ious, bins=np.linspace(0, 1, 21).tolist(), color="tab:blue", alpha=0.7)
    for share, name in ((25, "first quartile"), (50, "median"), (75, "third quartile")):
        value = float(np.percentile(ious, share))
        axes.axvline(value, color="tab:orange", linewidth=2 if share == 50 else 1, label=f"{name} {100 * value:.1f}%")
    axes.axvline(LOC_IOU, color="black", linestyle="--", linewidth=1, label="a hit")
    axes.set(xlabel="IoU of the box of the label's map", ylabel="images", xlim=(0, 1))
    axes.legend(fontsize="small")
    tidy(axes)


def draw_precision_recall(axes: Axes, curves: Curves) -> None:
    """Draw precision over recall of the pixels."""
    if curves.recall is not None and curves.precision is not None:
        axes.plot(curves.recall, curves.precision)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    tidy(axes)


def draw_reliability(axes: Axes, found: Selective) -> None:
    """Draw the hit rate over the mean score of each bin, with 95% error bars."""
    means, rates, counts = zip(*found.bins, strict=True)
    error = 1.96 * np.sqrt(np.array(rates) * (1 - np.array(rates)) / np.array(counts))
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="calibrated")
    axes.errorbar(means, rates, error, marker="o", capsize=2, label="tenths of the images, 95%")
    axes.set(xlabel="score of the box", ylabel="share of hits (IoU ≥ 0.5)", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize="small")
    tidy(axes)


def draw_risk(axes: Axes, found: Selective) -> None:
    """Draw the share of misses over the share of boxes kept, best-scored first."""
    axes.plot(found.coverage, found.risk)
    axes.axhline(1 - found.hit_rate / 100, color="black", linestyle="--", linewidth=1, label="all boxes")
    axes.set(xlabel="share of the boxes kept, best first", ylabel="share of misses", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize="small")
    tidy(axes)


def tidy(axes: Axes) -> None:
    """Draw a light grid and no frame at the top and the right."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
