"""Images in a grid: a column an image, a row what a run shows of it, a block a data set."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from PIL import Image

# Inches and points.
_CELL, _GAP, _LEFT, _EDGE = 1.5, 0.05, 1.35, 0.12
_HEADING, _COLUMN_TITLE, _LINE, _LEGEND = 0.26, 0.32, 0.145, 0.3
_TEXT_SIZE, _LETTERS_PER_INCH, _LETTERS_PER_CELL = 7, 19, 24
_SHORTEST = 6.0  # a narrower figure has no room for its text


@dataclass(frozen=True, slots=True)
class GridRow:
    """label: what the row shows. texts: printed on each image in white, or nothing."""

    label: str
    images: Sequence[Image.Image]
    texts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class GridBlock:
    """titles: above each column. text: below the block: how its images were chosen, what the colours mean."""

    heading: str
    titles: Sequence[str]
    rows: Sequence[GridRow]
    text: str = ""


def image_grid(
    title: str, blocks: Sequence[GridBlock], legend: Sequence[tuple[str, tuple[int, int, int]]] = ()
) -> Figure:
    """Lay blocks of images out below each other; all cells are squares of one size.

    Args:
        title: Above everything.
        blocks: At least one; the widest decides the width.
        legend: (words, colour of 0 to 255) below everything.

    Returns:
        The figure; its texts are beside or over the images, never across two of them.
    """
    columns = max(len(block.titles) for block in blocks)
    width = max(_SHORTEST, _LEFT + columns * (_CELL + _GAP) + _EDGE)
    letters = int((width - 2 * _EDGE) * _LETTERS_PER_INCH)
    heading = textwrap.wrap(title, int(letters * _TEXT_SIZE / 10))
    height = 2 * _EDGE + 1.5 * _LINE * len(heading) + sum(_height(block, letters) for block in blocks)
    height += _LEGEND if legend else 0
    figure = Figure(figsize=(width, height))
    figure.text(_EDGE / width, 1 - _EDGE / height, "\n".join(heading), va="top", fontsize=10, weight="bold")
    top = height - _EDGE - 1.5 * _LINE * len(heading)
    for block in blocks:
        _draw_block(figure, block, top, letters)
        top -= _height(block, letters)
    if legend:
        patches = [Patch(color=_unit(colour), label=words) for words, colour in legend]
        figure.legend(
            handles=patches, loc="lower left", ncols=len(patches), fontsize=_TEXT_SIZE, frameon=False, borderaxespad=0.5
        )
    return figure


def _unit(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def _height(block: GridBlock, letters: int) -> float:
    lines = len(textwrap.wrap(block.text, letters))
    return _HEADING + _COLUMN_TITLE + len(block.rows) * (_CELL + _GAP) + _LINE * (lines + 1)


def _draw_block(figure: Figure, block: GridBlock, top: float, letters: int) -> None:
    """top: inches from the figure's lower edge."""
    width, height = figure.get_size_inches()
    figure.text(_EDGE / width, (top - 0.1) / height, block.heading, va="top", fontsize=9, weight="bold")
    top -= _HEADING + _COLUMN_TITLE
    for column, title in enumerate(block.titles):
        lines = _lines(title, _LETTERS_PER_CELL)
        middle = _LEFT + column * (_CELL + _GAP) + _CELL / 2
        place = middle / width, (top + 0.06) / height
        figure.text(*place, lines, ha="center", va="baseline", fontsize=_TEXT_SIZE, linespacing=1.1)
    for row in block.rows:
        top -= _CELL
        figure.text(
            (_LEFT - 0.08) / width,
            (top + _CELL / 2) / height,
            "\n".join(_lines(line, 18, 3) for line in row.label.splitlines()),
            ha="right",
            va="center",
            fontsize=_TEXT_SIZE + 1,
        )
        for column, image in enumerate(row.images):
            left = _LEFT + column * (_CELL + _GAP)
            axes = figure.add_axes((left / width, top / height, _CELL / width, _CELL / height))
            axes.imshow(np.asarray(image), aspect="auto", interpolation="antialiased")
            axes.axis("off")
            if row.texts and row.texts[column]:
                axes.text(
                    *(0.04, 0.04, row.texts[column]),
                    transform=axes.transAxes,
                    color="white",
                    fontsize=_TEXT_SIZE + 1,
                    weight="bold",
                    path_effects=[withStroke(linewidth=2, foreground="black")],
                )
        top -= _GAP
    text = "\n".join(textwrap.wrap(block.text, letters))
    figure.text(_EDGE / width, (top - 0.03) / height, text, va="top", fontsize=_TEXT_SIZE, linespacing=1.3)


def _lines(text: str, letters: int, most: int = 2) -> str:
    """The text in lines of so many letters; what does not fit ends in an ellipsis."""
    lines = textwrap.wrap(text, letters, max_lines=most, placeholder=" …")
    return "\n".join(lines)
