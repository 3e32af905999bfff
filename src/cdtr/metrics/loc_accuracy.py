"""Top-1, Top-5 and GT-known Loc, Top-1 and Top-5 Cls, from one row an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cdtr.errors import DataError

# An image is localized if its box overlaps a true one by this much (every WSOL benchmark), and strictly by that much.
LOC_IOU = 0.5
STRICT_LOC_IOU = 0.7
IOU_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """What a method answered for one image.

    prob: probability of the predicted class, in [0, 1]. in_top5: the label is among the five best classes. iou_label,
    iou_predicted: best IoU, in [0, 1], of the box of the label's and of the predicted class's map with any ground-truth
    box; None where the image has no box or no threshold was given. error: what is wrong with the label's box, a kind of
    ``metrics.errors``, or None likewise. score: the probability of a hit that the predicted class's box got, if any.
    attention_ratio: strength of the attention in the true boxes over that outside, where both are known.
    """

    image_id: str
    label: int
    predicted: int
    prob: float
    in_top5: bool
    iou_label: float | None = None
    iou_predicted: float | None = None
    error: str | None = None
    score: float | None = None
    attention_ratio: float | None = None


class LocAccuracy:
    """Collects rows; an image that comes twice, as padded samplers deliver, is counted once."""

    def __init__(self) -> None:
        self._rows: dict[str, ImageRow] = {}

    @property
    def rows(self) -> tuple[ImageRow, ...]:
        return tuple(self._rows.values())

    @property
    def count(self) -> int:
        return len(self._rows)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._rows

    def update(self, row: ImageRow) -> None:
        self._rows.setdefault(row.image_id, row)

    def merge(self, other: LocAccuracy) -> None:
        """Add the rows of another part of the data set."""
        for row in other.rows:
            self.update(row)

    def compute(self) -> dict[str, float | None]:
        """Percentages over the rows; the localization ones over the rows with an IoU, None where there is none."""
        return summarise(self.rows)

    def compute_per_class(self) -> Mapping[int, dict[str, float | None]]:
        """The same for the images of each label, in ascending order of label."""
        groups: dict[int, list[ImageRow]] = {}
        for row in self.rows:
            groups.setdefault(row.label, []).append(row)
        return {label: summarise(groups[label]) for label in sorted(groups)}


def summarise(rows: Iterable[ImageRow]) -> dict[str, float | None]:
    """Accuracies in percent, localization at ``LOC_IOU``, ``gt_known_loc_iou70`` at the strict one; IoUs in percent."""
    rows = list(rows)
    if not rows:
        raise DataError("no image was evaluated: expected at least one, check the data set and its split")
    right = np.array([row.predicted == row.label for row in rows])
    in_top5 = np.array([row.in_top5 for row in rows])
    metrics: dict[str, float | None] = {"top1_cls": _percent(right), "top5_cls": _percent(in_top5)}
    known = np.array([row.iou_label is not None for row in rows])
    names = ("top1_loc", "top5_loc", "gt_known_loc", "gt_known_loc_iou70", "mean_iou", "median_iou")
    if not known.any():
        return metrics | dict.fromkeys(names)
    ious = np.array([row.iou_label for row in rows if row.iou_label is not None])
    hit = ious >= LOC_IOU
    values = (
        _percent(hit & right[known]),
        _percent(hit & in_top5[known]),
        _percent(hit),
        _percent(ious >= STRICT_LOC_IOU),
        100 * float(ious.mean()),
        100 * float(np.median(ious)),
    )
    return metrics | dict(zip(names, values, strict=True))


def iou_percentiles(rows: Iterable[ImageRow]) -> dict[str, float] | None:
    """What a box plot of the label's box's IoU shows, in percent, by percentile; None where no image has an IoU."""
    ious = [row.iou_label for row in rows if row.iou_label is not None]
    if not ious:
        return None
    values = 100 * np.percentile(ious, IOU_PERCENTILES)
    return {str(share): float(value) for share, value in zip(IOU_PERCENTILES, values, strict=True)}


def _percent(hits: np.typing.NDArray[np.bool_]) -> float:
    return 100 * float(hits.mean())
