"""Top-1, Top-5 and GT-known Loc, Top-1 and Top-5 Cls, and the mean and median IoU, over images.

Reference: Choe et al., CVPR 2020; Russakovsky et al., IJCV 2015.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from cdtr.errors import DataError
from cdtr.metrics.outcomes import STRICT_LOC_IOU, ImageRow, localized
from cdtr.metrics.record import ImageMetric
from cdtr.metrics.registry import image_metrics

IOU_PERCENTILES = (5, 25, 50, 75, 95)

METRICS = (
    ImageMetric(
        key="gt_known_loc",
        title="GT-known Loc",
        order=10,
        value=lambda found: localized(found.iou),
        chosen_by="gt_known_loc",
    ),
    ImageMetric(
        key="gt_known_loc_iou70",
        title="GT-known Loc at IoU 0.7",
        column="at IoU 0.7",
        order=20,
        value=lambda found: localized(found.iou, level=STRICT_LOC_IOU),
        chosen_by="gt_known_loc_iou70",
    ),
    ImageMetric(
        key="top1_loc",
        title="Top-1 Loc",
        order=30,
        value=lambda found: localized(found.iou, found.top1),
        needs_class=True,
        chosen_by="gt_known_loc",
    ),
    ImageMetric(
        key="top5_loc",
        title="Top-5 Loc",
        order=40,
        value=lambda found: localized(found.iou, found.top5),
        needs_class=True,
        chosen_by="gt_known_loc",
        compared=False,
    ),
    ImageMetric(
        key="top1_cls",
        title="Top-1 Cls",
        order=50,
        value=lambda found: np.asarray(found.top1),
        needs_box=False,
        needs_class=True,
    ),
    ImageMetric(
        key="top5_cls",
        title="Top-5 Cls",
        order=60,
        value=lambda found: np.asarray(found.top5),
        needs_box=False,
        needs_class=True,
        compared=False,
    ),
    ImageMetric(key="mean_iou", title="mean IoU", order=100, value=lambda found: found.iou),
    ImageMetric(
        key="median_iou",
        title="median IoU",
        order=110,
        value=lambda found: found.iou,
        summary="median",
        compared=False,
    ),
)


class LocAccuracy:
    """Every metric that has a value for each image, over the images of a data set.

    An image that comes twice, as padded samplers deliver, is counted once.

    >>> accuracy = LocAccuracy()
    >>> accuracy.update(ImageRow("a.jpg", label=0, predicted=0, prob=0.9, in_top5=True, iou_label=0.6))
    >>> accuracy.update(ImageRow("b.jpg", label=0, predicted=1, prob=0.5, in_top5=True, iou_label=0.8))
    >>> accuracy.compute()["top1_loc"], accuracy.compute()["gt_known_loc"]
    (50.0, 100.0)
    """

    def __init__(self) -> None:
        self._rows: dict[str, ImageRow] = {}

    @property
    def rows(self) -> tuple[ImageRow, ...]:
        """The images in the order in which they came."""
        return tuple(self._rows.values())

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self._rows)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._rows

    def update(self, row: ImageRow) -> None:
        """Count one image, unless it was counted before."""
        self._rows.setdefault(row.image_id, row)

    def merge(self, other: LocAccuracy) -> None:
        """Add the images of another part of the data set."""
        for row in other.rows:
            self.update(row)

    def compute(self) -> dict[str, float | None]:
        """Compute the metrics over all images; see ``summarise``."""
        return summarise(self.rows)

    def compute_per_class(self) -> Mapping[int, dict[str, float | None]]:
        """Compute the metrics over the images of each class.

        Returns:
            The metrics by label, in ascending order of label.
        """
        groups: dict[int, list[ImageRow]] = {}
        for row in self.rows:
            groups.setdefault(row.label, []).append(row)
        return {label: summarise(groups[label]) for label in sorted(groups)}


def summarise(rows: Iterable[ImageRow]) -> dict[str, float | None]:
    """Compute every metric that has a value for each image.

    Args:
        rows: At least one image.

    Returns:
        Metrics by key, in percent; None if no image has a value, as localization without true boxes.

    Raises:
        DataError: If there is no image.
    """
    rows = list(rows)
    if not rows:
        raise DataError("no image was evaluated: expected at least one, check the data set and its split")
    return {metric.key: metric.compute(rows) for metric in image_metrics()}


def iou_percentiles(rows: Iterable[ImageRow]) -> dict[str, float] | None:
    """Compute the percentiles of the IoU that a box plot shows.

    Args:
        rows: Images, with or without boxes.

    Returns:
        IoU of the true class's box in percent, by percentile; None if no image has an IoU.
    """
    ious = [row.iou_label for row in rows if row.iou_label is not None]
    if not ious:
        return None
    values = 100 * np.percentile(ious, IOU_PERCENTILES)
    return {str(share): float(value) for share, value in zip(IOU_PERCENTILES, values, strict=True)}
