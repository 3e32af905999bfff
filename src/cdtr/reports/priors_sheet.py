"""The object priors of some images: a table, and a sheet with each prior over each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import Image
from rich.table import Table

from cdtr.image_files.reading import read_image
from cdtr.metrics.bootstrap import Interval
from cdtr.records import Annotation, FloatArray, Sample
from cdtr.reports.columns import add_number, add_text
from cdtr.reports.figures import figure_png
from cdtr.reports.image_grid import GridBlock, GridRow, image_grid
from cdtr.reports.overlays import HEAT_SHARE, TRUTH_COLOUR, draw_boxes, heat_map

_SIDE = 224  # pixels of an image on the sheet
_COLUMNS = 8
_LEGEND = (
    "A column is a training image, with its class above it; a row is a prior, the best first. A prior is good where "
    "red lies on what you want boxed, and blue around it. The preset imagenet learns from the row shared."
)
_SHARES = (("where the prior expects no object", 0.0), ("undecided", 0.5), ("where it expects the object", 1.0))
_NO_BOX = np.zeros((0, 4))


@dataclass(frozen=True, slots=True)
class PriorScore:
    """What is known of one prior.

    Attributes:
        agreement: Mean correlation of its maps with those of the other priors, in [-1, 1].
        found: Share of the images with boxes whose object it finds (MaxBoxAcc, IoU 0.5 at its best threshold), in
            percent; None without boxes.
        interval: Its 95% bootstrap interval.
    """

    agreement: float
    found: float | None = None
    interval: Interval | None = None


def priors_table(scores: Mapping[str, PriorScore], boxed: int) -> Table:
    """A line for each prior, the best first.

    Args:
        scores: By name of the prior.
        boxed: Number of images with boxes that were measured; 0 leaves the columns of scores out.
    """
    table = Table(title="object priors", title_justify="left")
    add_text(table, "prior")
    add_number(table, "agreement")
    if boxed:
        add_number(table, "objects found, %")
        add_number(table, "95% interval")
    for name, one in scores.items():
        cells = [name, f"{one.agreement:.2f}"]
        if boxed:
            low, high = one.interval or (float("nan"), float("nan"))
            cells += ["-" if one.found is None else f"{one.found:.1f}", f"{low:.1f}–{high:.1f}"]
        table.add_row(*cells)
    return table


def priors_sheet(
    title: str,
    samples: Sequence[Sample],
    class_names: Sequence[str],
    maps: Mapping[str, FloatArray],
    annotations: Sequence[Annotation | None],
    max_pixels: int,
) -> Image.Image:
    """Draw each prior over each image, a row a prior, eight images a block.

    Args:
        title: Above the sheet.
        samples: The n images.
        class_names: By label.
        maps: (n, h, w) in [0, 1] by name of the prior, in the order of the rows.
        annotations: True boxes, drawn dashed and red; None each without boxes.
        max_pixels: An image with more is not read.

    Returns:
        The sheet, which ``contact_sheet.write_sheet`` saves.
    """
    squares, boxes = [], []
    for sample, annotation in zip(samples, annotations, strict=True):
        image = read_image(sample.path, max_pixels)
        scale = np.array([_SIDE / image.width, _SIDE / image.height] * 2)
        squares.append(image.convert("RGB").resize((_SIDE, _SIDE)))
        boxes.append(None if annotation is None else annotation.boxes_xyxy * scale)
    blocks = []
    for start in range(0, len(samples), _COLUMNS):
        part = range(start, min(start + _COLUMNS, len(samples)))
        rows = [GridRow("image", [_boxed(squares[index], boxes[index]) for index in part])]
        for name, found in maps.items():
            heated = [Image.blend(squares[index], heat_map(found[index], (_SIDE, _SIDE)), HEAT_SHARE) for index in part]
            rows.append(GridRow(name, [_boxed(image, boxes[index]) for image, index in zip(heated, part, strict=True)]))
        titles = [class_names[samples[index].label] for index in part]
        blocks.append(GridBlock("", titles, rows))
    blocks[-1] = replace(blocks[-1], text=_LEGEND)
    boxed = [("true box, dashed", TRUTH_COLOUR)] if any(one is not None for one in annotations) else []
    legend = [*((words, _heat(share)) for words, share in _SHARES), *boxed]
    return Image.open(BytesIO(figure_png(image_grid(title, blocks, legend)))).convert("RGB")


def _heat(share: float) -> tuple[int, int, int]:
    """The colour of a value of a map."""
    red, green, blue = np.asarray(heat_map(np.array([[share]], dtype=np.float32)))[0, 0].tolist()
    return red, green, blue


def _boxed(image: Image.Image, boxes: FloatArray | None) -> Image.Image:
    if boxes is None:
        return image
    drawn = image.copy()
    draw_boxes(drawn, _NO_BOX, boxes)
    return drawn
