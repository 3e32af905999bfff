"""The paper's figures of numbers (5, 7, 9, 10, 11): the numbers as CSV, and a chart of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cdtr.config import Reproduction
from cdtr.metrics.loc_accuracy import IOU_PERCENTILES
from cdtr.reports.figures import tidy
from cdtr.reports.paper_table import Part
from cdtr.reports.tables import METRIC_NAMES, csv_text
from cdtr.runs import RunFolder

Runs = Mapping[str, Mapping[str, Mapping[int, RunFolder]]]  # data set, row, seed
Evaluations = Mapping[str, Mapping[str, Mapping[int, Mapping[str, Any]]]]  # the same


def sweep_values(found: Reproduction) -> dict[str, float]:
    """Return the value of the swept setting in each row."""
    key = found.table.figure.key if found.table.figure else None
    values = {}
    for name, row in found.table.rows.items():
        value: Any = row.settings
        for part in (key or "").split("."):
            value = value[part]
        values[name] = float(value)
    return values


def sweep_figure(found: Reproduction, parts: Sequence[Part]) -> Figure:
    """Draw each metric over the setting: ours with the standard deviation over seeds, the paper's values as crosses."""
    figure, panels = _panels(parts)
    values, spec = sweep_values(found), found.table.figure
    for axes, part in zip(panels, parts, strict=True):
        for index, metric in enumerate(found.table.metrics):
            color = f"C{index}"
            points = [(values[line.row], spread) for line in part.lines if (spread := line.ours[index]) is not None]
            xs, means = [x for x, _ in points], [spread.mean for _, spread in points]
            bars = [spread.std for _, spread in points]
            axes.errorbar(xs, means, bars, color=color, marker="o", capsize=3, label=f"{METRIC_NAMES[metric]}, ours")
            known = [(values[line.row], line.paper[index]) for line in part.lines if line.paper[index] is not None]
            axes.plot(
                *zip(*known, strict=True), color=color, marker="x", linestyle="", label="the paper's"
            ) if known else None
        if spec is not None and spec.log:
            axes.set_xscale("log")
        axes.set(title=part.title, xlabel=spec.key if spec else "", ylabel=f"percent, protocol {part.protocol}")
        axes.legend(fontsize="small")
    return figure


def iou_data(found: Reproduction, evaluations: Evaluations) -> str:
    """Return CSV of the percentiles of the IoU of the label's box, one line a run."""
    header = ["data", "row", "label", "seed", *(f"p{share}" for share in IOU_PERCENTILES), "images"]
    return csv_text(header, _iou_lines(found, evaluations))


def _iou_lines(found: Reproduction, evaluations: Evaluations) -> Iterator[list[Any]]:
    for data, row, seed, one in _each(evaluations):
        if one.get("iou_percentiles"):
            shares = [f"{one['iou_percentiles'][str(share)]:.3f}" for share in IOU_PERCENTILES]
            yield [data, row, found.table.rows[row].label, seed, *shares, one["n_annotated"]]


def iou_figure(found: Reproduction, parts: Sequence[Part], evaluations: Evaluations) -> Figure:
    """Draw boxes from the 25th to the 75th percentile with whiskers from the 5th to the 95th, means over the seeds."""
    figure, panels = _panels(parts)
    for axes, part in zip(panels, parts, strict=True):
        boxes, papers = [], []
        for line in part.lines:
            of_seeds = [one["iou_percentiles"] for one in evaluations.get(part.data, {}).get(line.row, {}).values()]
            if not of_seeds or not all(of_seeds):
                continue
            low, first, median, third, high = (
                np.mean([one[str(share)] for one in of_seeds]) for share in IOU_PERCENTILES
            )
            box = {"whislo": low, "q1": first, "med": median, "q3": third, "whishi": high, "label": line.label}
            boxes.append(box)
            papers.append(line.paper[0])
        if boxes:
            axes.bxp(boxes, showfliers=False)
            known = [(index + 1, value) for index, value in enumerate(papers) if value is not None]
            if known:
                axes.plot(*zip(*known, strict=True), marker="x", linestyle="", color="C3", label="the paper's median")
                axes.legend(fontsize="small")
        axes.set(title=part.title, ylabel=f"IoU, %, protocol {part.protocol}", ylim=(0, 100))
    return figure


def training_data(found: Reproduction, runs: Runs, field: str) -> str:
    """Return CSV of a ``field`` of the log over the steps: ``lambdas``, or the loss ``terms``."""
    lines = (
        [data, row, found.table.rows[row].label, seed, record["step"], record["epoch"], name, f"{value:.6g}"]
        for data, row, seed, run in _each(runs)
        for record in _records(run)
        for name, value in record[field].items()
    )
    return csv_text(["data", "row", "label", "seed", "step", "epoch", "name", "value"], lines)


def training_figure(found: Reproduction, parts: Sequence[Part], runs: Runs, field: str) -> Figure:
    """Draw every lambda, or the total loss of every row, over the steps: one line a seed."""
    figure, panels = _panels(parts)
    for axes, part in zip(panels, parts, strict=True):
        colors: dict[str, str] = {}
        for _, row, _, run in _each({part.data: runs.get(part.data, {})}):
            records = _records(run)
            names = list(records[0][field]) if records else []
            for name in names if field == "lambdas" else ["total"]:
                label = f"{found.table.rows[row].label}, {name}"
                color = colors.get(label, f"C{len(colors)}")
                values = [record[field][name] for record in records]
                axes.plot(
                    [record["step"] for record in records],
                    values,
                    color=color,
                    linewidth=1,
                    label=None if label in colors else label,
                )
                colors[label] = color
        axes.set(title=part.title, xlabel="step", ylabel="lambda" if field == "lambdas" else "training loss")
        if colors:
            axes.legend(fontsize="small")
    return figure


def _records(run: RunFolder) -> list[dict[str, Any]]:
    """The log's steps; of a training too short to have any, its epochs."""
    return run.log("step") or run.log("epoch")


def _each(tree: Mapping[str, Mapping[str, Mapping[int, Any]]]) -> Iterator[tuple[str, str, int, Any]]:
    for data, rows in tree.items():
        for row, seeds in rows.items():
            for seed, found in seeds.items():
                yield data, row, seed, found


def _panels(parts: Sequence[Part]) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(1.2 + 4.4 * len(parts), 3.8), layout="constrained")
    panels = list(figure.subplots(1, len(parts), squeeze=False)[0])
    for axes in panels:
        tidy(axes)
    return figure, panels
