"""Pages that need no other file: one template and style for all, and charts as images inside the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cdtr.reports.tables import percent
from cdtr.runs import write_atomic

# Okabe and Ito's colours and some more, dark enough on white, and told apart by colour-blind eyes.
COLOURS = ("#0072b2", "#d55e00", "#00805e", "#8e4a9b", "#7a4b00", "#4d4d4d", "#b3266b", "#3f51b5", "#5f7300", "#00708a")
CHART_INCHES = (4.8, 3.2)  # small enough that the words can be read at the width of a phone


@dataclass(frozen=True, slots=True)
class Chart:
    """title: what it shows. alt: what a reader sees in it, in words. uri: of the image. note: below it, if any."""

    title: str
    alt: str
    uri: str
    note: str = ""


def write_page(template: str, page: Path, words: dict[str, Any]) -> None:
    """Fill a template of this package and write the page. Text is escaped; a word that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("cdtr.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    write_atomic(page, environment.get_template(template).render(**words))


def new_chart() -> tuple[Figure, Axes]:
    """Return an empty figure and its axes in the style of the pages."""
    figure = Figure(figsize=CHART_INCHES, layout="constrained")
    axes: Axes = figure.subplots()
    axes.set_prop_cycle(color=COLOURS)
    return figure, axes


def chart_uri(figure: Figure) -> str:
    """Return the figure as SVG in a data URI: sharp at any size and on paper.

    The letters are those of the reader's machine, which keeps the page small.
    """
    buffer = BytesIO()
    # Salt and no date, so that the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "cdtr"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
