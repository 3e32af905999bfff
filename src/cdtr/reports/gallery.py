"""Which images a page shows: at random, and the best, median and worst by the overlap of found and true box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cdtr.image_files.reading import read_image
from cdtr.localization.presence import EmptyClasses
from cdtr.localization.torch_model import TorchModel
from cdtr.metrics import ImageRow
from cdtr.metrics.loc_errors import KINDS
from cdtr.records import DataSource, Sample
from cdtr.reports.panels import Panel, PanelRow, attention_row, panel_row

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Gallery:
    """Rows of images with their maps under one title."""

    title: str
    note: str
    rows: tuple[PanelRow, ...]


@dataclass(frozen=True, slots=True)
class PanelDrawer:
    """Where images come from, and what localizes them.

    threshold: of the map. max_pixels: larger images are refused. empty: the classes without an object.
    """

    source: DataSource
    samples: Mapping[str, Sample]
    predictor: TorchModel
    threshold: float
    max_pixels: int
    empty: EmptyClasses | None = None

    def gallery(self, title: str, note: str, rows: Sequence[ImageRow]) -> Gallery:
        """Draw one row of panels for each image."""
        return Gallery(title, note, tuple(self._row(row) for row in rows))

    def _row(self, row: ImageRow) -> PanelRow:
        sample = self.samples[row.image_id]
        image, annotation = read_image(sample.path, self.max_pixels), self.source.annotate(sample)
        return panel_row(self.predictor, self.threshold, image, sample, annotation, row.iou_predicted, self.empty)

    def attention(self, before: TorchModel | None, image_ids: Sequence[str]) -> list[tuple[Panel, ...]]:
        """The attention before and after the training."""
        samples = [self.samples[name] for name in image_ids]
        return [
            attention_row(before, self.predictor, read_image(one.path, self.max_pixels), one, self.source.annotate(one))
            for one in samples
        ]


def choose_rows(rows: Sequence[ImageRow], count: int, seed: int) -> list[tuple[str, str, list[ImageRow]]]:
    """Choose (title, note, rows) of each gallery.

    ``count`` images at random, and as many best, median and worst by the IoU of the predicted class's box, where images
    have one.
    """
    groups = [("At random", "Drawn at random, not picked.", choose_random(rows, count, seed))]
    measured = [(row.iou_predicted, row) for row in rows if row.iou_predicted is not None]
    ranked = [row for _, row in sorted(measured, key=lambda pair: -pair[0])]
    if ranked:
        middle = max(0, (len(ranked) - count) // 2)
        groups.append(("Best", "Highest overlap with a true box.", ranked[:count]))
        groups.append(("Median", "In the middle: half of the images do better.", ranked[middle : middle + count]))
        groups.append(("Worst", "Lowest overlap, worst first.", ranked[::-1][:count]))
    return groups


def choose_failures(rows: Sequence[ImageRow], count: int) -> list[ImageRow]:
    """Failures of localization alone, by a rule: the class is right, the IoU is below 0.5 (``LOC_IOU``).

    Args:
        rows: Of an evaluation at a threshold; those without an IoU are passed over.
        count: How many to choose at most.

    Returns:
        Of each kind of error in turn, in the order of ``KINDS``, the image of lowest IoU that
        is left; of equals the first in the order of the rows.
    """
    failed = [row for row in rows if row.predicted == row.label and row.error not in (None, "correct", "cls")]
    ranked = sorted(failed, key=lambda row: row.iou_label or 0.0)
    by_kind = [[row for row in ranked if row.error == kind] for kind in KINDS]
    in_turn = [row for place in range(len(ranked)) for of_kind in by_kind for row in of_kind[place : place + 1]]
    return in_turn[:count]


def choose_random(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """``count`` of the items at random, all where there are fewer."""
    order = np.random.default_rng(seed).permutation(len(items))[:count]
    return [items[index] for index in order]
