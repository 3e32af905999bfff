"""Charts of an evaluation for an HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cdtr.evaluation import AttentionNoise, Evaluation
from cdtr.metrics.max_box_acc import LOC_LEVEL
from cdtr.reports.figures import (
    draw_hits,
    draw_ious,
    draw_precision_recall,
    draw_reliability,
    draw_risk,
    draw_threshold,
    label_ious,
    tidy,
)
from cdtr.reports.frame_images import NOISE_WORDS
from cdtr.reports.page import COLOURS, Chart, chart_uri, new_chart


def threshold_charts(evaluation: Evaluation | None, calibration: Mapping[str, Any] | None) -> list[Chart]:
    """Draw hits over the map threshold, on the evaluated images and on those of the calibration.

    Args:
        evaluation: Its curves; None to leave them out.
        calibration: Content of ``calibration.json``; None to leave it out.

    Returns:
        At most two charts.
    """
    charts = []
    if evaluation is not None and evaluation.curves is not None:
        charts += _evaluated(evaluation)
    curve = (calibration or {}).get("curve")
    if (
        calibration is not None
        and curve
        and None not in (calibration.get("threshold"), calibration.get("gt_known_loc"))
    ):
        charts.append(_chosen(calibration, curve))
    return charts


def overlap_charts(evaluation: Evaluation) -> list[Chart]:
    """Draw the distribution of IoU (the paper's Fig. 5) and, with masks, precision over recall of the pixels."""
    charts = []
    ious = label_ious(evaluation)
    if ious:
        figure, axes = new_chart()
        draw_ious(axes, ious)
        first, median, third = np.percentile(ious, (25, 50, 75))
        alt = (
            f"Histogram of the IoU of {len(ious)} images: first quartile {first:.2f}, median {median:.2f}, third "
            f"quartile {third:.2f}; a hit is at least 0.5."
        )
        charts.append(Chart("Overlap of found and true box", alt, chart_uri(figure)))
    curves = evaluation.curves
    if curves is not None and curves.precision is not None:
        figure, axes = new_chart()
        draw_precision_recall(axes, curves)
        pxap = evaluation.metrics["pxap"]
        alt = f"Line: precision over recall of the pixels against the masks; the area below it, PxAP, is {pxap:.1f}%."
        charts.append(Chart("Pixels against masks", alt, chart_uri(figure)))
    return charts


def box_score_charts(evaluation: Evaluation) -> list[Chart]:
    """Draw the reliability diagram of the boxes' scores, and risk over coverage; none if boxes have no scores."""
    found = evaluation.box_scores
    if found is None:
        return []
    figure, axes = new_chart()
    draw_reliability(axes, found)
    alt = f"Share of hits over the boxes' score, by tenths of the images; the ECE is {found.ece:.1f}%."
    reliability = Chart("Does the score come true?", alt, chart_uri(figure))
    figure, axes = new_chart()
    draw_risk(axes, found)
    best = ", ".join(f"the best-scored {share:.0%}: {100 - rate:.1f}%" for share, rate in found.accuracy_at.items())
    alt = f"Line: share of misses among the boxes kept, best first. All boxes: {100 - found.hit_rate:.1f}%; {best}."
    return [reliability, Chart("Misses among the best-scored", alt, chart_uri(figure))]


def noise_chart(noise: AttentionNoise) -> Chart:
    """Draw histograms of the share of the attention outside the boxes, before and after training."""
    figure, axes = new_chart()
    bins = np.linspace(0, 1, 26).tolist()
    groups = [("after training", noise.after, COLOURS[0])]
    if noise.before is not None:
        groups.insert(0, ("before training", noise.before, COLOURS[1]))
    words = []
    for name, shares, colour in groups:
        median = float(np.median(shares))
        axes.hist(shares, bins=bins, color=colour, alpha=0.5, label=f"{name}, median {100 * median:.0f}%")
        axes.axvline(median, color=colour, linewidth=2)
        words.append(f"{name} {100 * median:.0f}%")
    area = float(np.median(noise.area))
    axes.axvline(area, color="black", linestyle="--", linewidth=1, label=f"median area outside {100 * area:.0f}%")
    axes.set(xlabel="share of the attention outside the boxes", ylabel="images", xlim=(0, 1))
    axes.legend(fontsize="small", loc="upper left")
    tidy(axes)
    alt = (
        f"Histogram of the share of attention outside the true boxes over {len(noise.area)} images, medians: "
        f"{', '.join(words)}; of the area {100 * area:.0f}% lies outside."
    )
    return Chart("Attention outside the true boxes", alt, chart_uri(figure))


def noise_kind_rows(noise: AttentionNoise) -> Iterator[tuple[str, list[float | None]]]:
    """List the kinds of noise.

    Yields:
        Description of the kind, and mean shares in percent: of the area, of the attention before and after training,
        and of the scaled attention before and after; None if unknown.
    """
    for kind, shares in noise.kinds.items():
        scaled = noise.scaled[kind]
        columns = (shares.area, shares.before, shares.after, scaled.before, scaled.after)
        yield NOISE_WORDS[kind], [None if one is None else 100 * float(one.mean()) for one in columns]


def _evaluated(evaluation: Evaluation) -> list[Chart]:
    curves = evaluation.curves
    if curves is None:
        return []
    figure, axes = new_chart()
    draw_hits(axes, curves, curves.single)
    draw_threshold(axes, evaluation.threshold)
    axes.set(ylabel="hits, % of images")
    axes.legend(fontsize="small")
    rates = curves.single[curves.iou.index(LOC_LEVEL)]
    best, levels = int(rates.argmax()), ", ".join(f"{level / 100:g}" for level in curves.iou)
    alt = (
        f"Lines: percent of the evaluated images hit over the map threshold, at IoU {levels}. At IoU 0.5 the highest "
        f"is {rates[best]:.1f}% at {curves.thresholds[best]:.2f}"
        + (f"; the threshold in use is {evaluation.threshold:.2f}." if evaluation.threshold is not None else ".")
    )
    note = "The highest point at IoU 0.5 is MaxBoxAcc, which looks at these very images."
    return [Chart("On the evaluated images", alt, chart_uri(figure), note)]


def _chosen(calibration: Mapping[str, Any], curve: Sequence[Sequence[float]]) -> Chart:
    figure, axes = new_chart()
    thresholds, rates = zip(*curve, strict=True)
    threshold, hits = float(calibration["threshold"]), float(calibration["gt_known_loc"])
    axes.plot(thresholds, rates, color=COLOURS[1], label="IoU ≥ 0.5")
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label=f"chosen: {threshold:g}")
    axes.plot([threshold], [hits], marker="o", color="black")
    axes.set(xlabel="map threshold", ylabel="hits, % of images", xlim=(0, 1), ylim=(0, 100))
    axes.legend(fontsize="small")
    tidy(axes)
    where = f"{calibration.get('n_images')} {calibration.get('source', 'images')}"
    alt = f"Line: percent of {where} hit at IoU 0.5 over the map threshold; {threshold:g} was chosen, with {hits:.1f}%."
    note = "The curve is smoothed before its highest point is taken, so that a peak by chance does not win."
    return Chart(f"Where it was chosen: {where}", alt, chart_uri(figure), note)
