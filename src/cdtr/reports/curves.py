"""Charts of a training from its ``metrics.jsonl``: losses (the paper's Fig. 11a), lambdas (Fig. 10), attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cdtr.config import module_specs
from cdtr.reports.figures import tidy
from cdtr.reports.page import COLOURS, Chart, chart_uri, new_chart
from cdtr.runs import RunFolder

_MAX_POINTS = 200  # of a line; more would only make the file larger

# In the order of Eq. 2, so that each keeps its number and its colour whatever is switched off.
_TERMS = ["cls", *(term for spec in module_specs() if spec.equation for term in spec.terms)]
_LEARNED = ["cls", *(term for spec in module_specs() if spec.learned for term in spec.terms)]
_LAMBDAS = {term: f"λ{chr(ord('₀') + number)}" for number, term in enumerate(_LEARNED, start=1)}
_COLOURS = dict(zip(_TERMS, COLOURS, strict=False))


class _Log(NamedTuple):
    """Records of a log.

    Attributes:
        steps: One for each logged step; those of the epochs if the training was too short for any.
        epochs: One for each epoch.
        per_epoch: Number of steps in an epoch.
    """

    steps: Sequence[Mapping[str, Any]]
    epochs: Sequence[Mapping[str, Any]]
    per_epoch: int


def training_charts(run: RunFolder) -> list[Chart]:
    """Draw losses, lambdas, attention and held-out accuracy over the epochs.

    Args:
        run: A run folder.

    Returns:
        The charts of what was logged; none before the end of the first epoch.
    """
    epochs = run.log("epoch")
    if not epochs:
        return []
    log = _Log(run.log("step") or epochs, epochs, max(1, int(epochs[0]["step"]) // (int(epochs[0]["epoch"]) + 1)))
    charts = (_total(log), _terms(log), _lambdas(log), _attention(log), _accuracy(log))
    return [chart for chart in charts if chart is not None]


def last_likeness(run: RunFolder) -> float | None:
    """Find the last logged correlation of attention and class map, in [-1, 1].

    Returns:
        The correlation, below 0 if the attention is inverted (higher on the background than on the object); None if it
        was not logged.
    """
    known = [value for record in run.log("epoch") if (value := _likeness(record)) is not None]
    return known[-1] if known else None


def _total(log: _Log) -> Chart:
    figure, axes = new_chart()
    xs, values = _line(log, "terms", "total")
    axes.plot(xs, values, color="black", linewidth=1.2)
    _finish(axes, "training loss")
    alt = f"Line: the total training loss over the epochs, from {values[0]:.2f} at first to {values[-1]:.2f} at last."
    return Chart("Total loss (Eq. 2)", alt, chart_uri(figure))


def _terms(log: _Log) -> Chart | None:
    names = [name for name in log.epochs[0]["terms"] if name != "total"]
    if not names:
        return None
    figure, axes = new_chart()
    positive = True
    for name, look in zip(names, _looks(names), strict=True):
        xs, values = _line(log, "terms", name)
        positive = positive and bool((values > 0).all())
        axes.plot(xs, values, label=name, **look)
    if positive:  # the terms' sizes are far apart
        axes.set_yscale("log")
    axes.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    _finish(axes, "loss term, not weighted")
    last = ", ".join(f"{name} {_line(log, 'terms', name)[1][-1]:.3f}" for name in names)
    return Chart("Loss terms", f"One line a loss term over the epochs. At the end: {last}.", chart_uri(figure))


def _lambdas(log: _Log) -> Chart | None:
    names = list(log.epochs[0]["lambdas"])
    if not names:
        return None
    figure, axes = new_chart()
    for name, look in zip(names, _looks(names), strict=True):
        axes.plot(*_line(log, "lambdas", name), label=f"{_LAMBDAS.get(name, 'λ')} {name}", **look)
    axes.axhline(1, color="black", linestyle=":", linewidth=1)
    axes.legend(fontsize="small", ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    _finish(axes, "λ, all start at 1")
    last = ", ".join(f"{name} {_line(log, 'lambdas', name)[1][-1]:.2f}" for name in names)
    alt = f"One line for each weight λ of Eq. 2 over the epochs, all from 1. At the end: {last}."
    return Chart(
        "Weights λ of the losses", alt, chart_uri(figure), "A term counts for 1/(2λ²): the smaller λ, the more."
    )


def _attention(log: _Log) -> Chart | None:
    points = [(record["epoch"] + 1, value) for record in log.epochs if (value := _likeness(record)) is not None]
    if not points:
        return None
    figure, axes = new_chart()
    axes.plot(*zip(*points, strict=True), marker=".", color=COLOURS[3])
    axes.axhline(0, color="black", linestyle="--", linewidth=1, label="inverted below")
    axes.set(ylim=(-1, 1))
    axes.legend(fontsize="small", loc="lower right")
    _finish(axes, "correlation, held-out images")
    alt = (
        f"Line: correlation of attention and class map on held-out images over the epochs, from {points[0][1]:.2f} to "
        f"{points[-1][1]:.2f}; below 0 the attention is inverted."
    )
    return Chart("Attention like the class map", alt, chart_uri(figure))


def _accuracy(log: _Log) -> Chart | None:
    points = [
        (record["epoch"] + 1, record["held_out"]["top1_cls"])
        for record in log.epochs
        if "top1_cls" in record["held_out"]
    ]
    if not points:
        return None
    figure, axes = new_chart()
    axes.plot(*zip(*points, strict=True), marker=".", color=COLOURS[2])
    axes.set(ylim=(0, 100))
    _finish(axes, "% right, held-out images")
    alt = f"Line: percent of held-out images whose class is right over the epochs, at last {points[-1][1]:.1f}."
    return Chart("Class of held-out images", alt, chart_uri(figure))


def _likeness(record: Mapping[str, Any]) -> float | None:
    value: float | None = record["attention"].get("class_map")
    return value


def _line(log: _Log, field: str, name: str) -> tuple[np.typing.NDArray[np.float64], np.typing.NDArray[np.float64]]:
    """Collect a value over the epochs, reduced to ``_MAX_POINTS`` means of neighbours."""
    pairs = [(record["step"] / log.per_epoch, record[field].get(name, np.nan)) for record in log.steps]
    size = -(-len(pairs) // _MAX_POINTS)
    means = np.array([np.mean(pairs[start : start + size], axis=0) for start in range(0, len(pairs), size)])
    return means[:, 0], means[:, 1]


def _looks(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Style the paper's terms as solid lines, others as dashed ones."""
    others = [name for name in names if name not in _COLOURS]
    for name in names:
        if name in _COLOURS:
            yield {"color": _COLOURS[name], "linewidth": 1.2}
        else:
            yield {"color": COLOURS[6 + others.index(name) % 4], "linewidth": 1.2, "linestyle": "--"}


def _finish(axes: Axes, ylabel: str) -> None:
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    tidy(axes)
