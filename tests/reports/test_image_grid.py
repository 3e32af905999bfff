"""The grid of pictures: nothing overlaps, nothing leaves the figure."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from cdtr.reports.image_grid import GridBlock, GridRow, image_grid

LONG = "a text that goes on and on about how its images were chosen and what the colours of the boxes mean, " * 3


def block(columns: int, rows: int, title: str = "crazing") -> GridBlock:
    pictures = [Image.new("RGB", (448, 448), (90, 90, 90))] * columns
    lines = [GridRow(f"row {index}\nattention before\ntraining", pictures, ["12.3"] * columns) for index in range(rows)]
    return GridBlock("A data set", [title] * columns, lines, LONG)


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_texts_and_pictures_do_not_overlap(columns: int) -> None:
    blocks = [block(columns, 2, "042.Vermilion Flycatcher: several objects merged"), block(columns, 1)]
    legend = [("base: another class", (240, 140, 20)), ("novel: none", (40, 110, 240))]
    figure = image_grid("Fig. 2. A title that says what it is", blocks, legend)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    boxes = [axes.get_window_extent(renderer) for axes in figure.axes]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [one.get_window_extent(renderer) for one in figure.legends]
    assert len(figure.axes) == 3 * columns
    for one, other in combinations(boxes, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(width, height) < 1, f"{one} and {other}"
    whole = figure.bbox
    assert all(one.x0 >= -1 and one.x1 <= whole.x1 + 1 and one.y0 >= -1 and one.y1 <= whole.y1 + 1 for one in boxes)
    sides = {
        (round(axes.get_window_extent(renderer).width), round(axes.get_window_extent(renderer).height))
        for axes in figure.axes
    }
    assert all(abs(width - height) <= 1 for width, height in sides), "cells are squares"


def test_what_does_not_fit_above_a_column_is_cut() -> None:
    figure = image_grid("t", [block(2, 1, "word " * 40)])
    titles = [text.get_text() for text in figure.texts if text.get_text().startswith("word")]
    assert all(title.endswith("…") and title.count("\n") == 1 for title in titles)
