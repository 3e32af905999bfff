"""A training's curves from its ``metrics.jsonl``, as a picture."""

from __future__ import annotations

import json
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cdtr.reports.figures import figure_uri
from cdtr.runs import RunFolder


def read_log(run: RunFolder, kind: str) -> list[dict[str, Any]]:
    """The log's records of a kind, ``step`` or ``epoch``."""
    if not run.metrics_file.is_file():
        return []
    records = [json.loads(line) for line in run.metrics_file.read_text(encoding="utf-8").splitlines()]
    return [record for record in records if record["kind"] == kind]


def loss_curve(run: RunFolder) -> str | None:
    """Every loss term, the held-out accuracy, and how much the attention is like the class map, over the epochs: a data
    URI; None before the first epoch.
    """
    epochs = read_log(run, "epoch")
    if not epochs:
        return None
    numbers = [record["epoch"] + 1 for record in epochs]
    figure = Figure(figsize=(10.2, 3.2), layout="constrained")
    losses, accuracy, attention = figure.subplots(1, 3)
    for name in epochs[0]["terms"]:
        values = [record["terms"].get(name, float("nan")) for record in epochs]
        losses.plot(numbers, values, marker=".", label=name, linewidth=2 if name == "total" else 1)
    losses.set(title="training loss, by term", xlabel="epoch")
    losses.legend(fontsize="x-small", ncols=2)
    held_out = [(number, record["held_out"]) for number, record in zip(numbers, epochs, strict=True)]
    points = [(number, values["top1_cls"]) for number, values in held_out if "top1_cls" in values]
    accuracy.plot([number for number, _ in points], [value for _, value in points], marker=".", color="tab:green")
    accuracy.set(title="class of held-out images, % right", xlabel="epoch", ylim=(0, 100))
    likeness = [(number, record.get("attention", {})) for number, record in zip(numbers, epochs, strict=True)]
    pairs = [(number, values["class_map"]) for number, values in likeness if "class_map" in values]
    attention.plot([number for number, _ in pairs], [value for _, value in pairs], marker=".", color="tab:purple")
    attention.axhline(0, color="black", linestyle="--", linewidth=1, label="inside out below")
    attention.set(title="attention like the class map", xlabel="epoch", ylim=(-1, 1))
    attention.legend(fontsize="small", loc="lower right")
    for axes in (losses, accuracy, attention):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    return figure_uri(figure)
