"""Whether the attention lies on the object: its mean inside the true boxes against its mean outside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.metrics.outcomes import ImageRow
from cdtr.records import Field, FloatArray

_SUBCELLS = 16  # a side of a patch is divided into, to measure how much of it boxes cover


@dataclass(frozen=True, slots=True)
class AttentionOnObject:
    """Attention inside and outside the true boxes, over images.

    Attributes:
        median_ratio: Median over the images of mean attention inside over mean attention outside; 1 if attention is
            independent of the object, below 1 if it is inverted (higher on the background than on the object).
        inverted: Percent of the images with a ratio below 1.
        n_images: Number of images whose boxes leave some of the image outside.
    """

    median_ratio: float
    inverted: float
    n_images: int

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        return {"median_ratio": self.median_ratio, "inverted": self.inverted, "n_images": self.n_images}


def inside_outside_ratio(
    attention: FloatArray, boxes_xyxy: npt.ArrayLike, size_hw: tuple[int, int], field: Field | None = None
) -> float | None:
    """Divide the mean attention inside the boxes by the mean outside.

    Args:
        attention: (h, w), >= 0, of the image or of its part ``field``.
        boxes_xyxy: (N, 4), half-open, in pixels of the image.
        size_hw: Height and width of the image.
        field: Part of the image that the attention covers; None for all of it.

    Returns:
        The ratio; a patch counts by the share of it that the boxes cover. None if the boxes cover nothing or
        everything, or if there is no attention outside.
    """
    covered = covered_shares(attention, boxes_xyxy, size_hw, field)
    if covered is None:
        return None
    outside = 1 - covered
    mean_outside = float((attention * outside).sum() / outside.sum())
    mean_inside = float((attention * covered).sum() / covered.sum())
    return mean_inside / mean_outside if mean_outside > 0 else None


def outside_shares(
    attention: FloatArray, boxes_xyxy: npt.ArrayLike, size_hw: tuple[int, int], field: Field | None = None
) -> tuple[float, float] | None:
    """Measure how much of the attention and of the image lies outside the boxes.

    Args:
        attention: As in ``inside_outside_ratio``.
        boxes_xyxy: As in ``inside_outside_ratio``.
        size_hw: As in ``inside_outside_ratio``.
        field: As in ``inside_outside_ratio``.

    Returns:
        Shares, in [0, 1], of the attention and of the area; they are equal if attention is independent of the object.
        None if the boxes cover nothing or everything, or if there is no attention.
    """
    covered = covered_shares(attention, boxes_xyxy, size_hw, field)
    total = float(attention.sum())
    if covered is None or not total > 0:
        return None
    return float((attention * (1 - covered)).sum()) / total, float(1 - covered.mean())


def covered_shares(
    attention: FloatArray, boxes_xyxy: npt.ArrayLike, size_hw: tuple[int, int], field: Field | None = None
) -> FloatArray | None:
    """Measure how much of each patch the boxes cover, to a sixteenth of a patch's side.

    Args:
        attention: As in ``inside_outside_ratio``.
        boxes_xyxy: As in ``inside_outside_ratio``.
        size_hw: As in ``inside_outside_ratio``.
        field: As in ``inside_outside_ratio``.

    Returns:
        (h, w) shares in [0, 1]; None if the boxes cover nothing or everything, or if the attention is not finite.
    """
    height, width = attention.shape
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    if not len(boxes) or not np.isfinite(attention).all():
        return None
    inside = np.zeros((height * _SUBCELLS, width * _SUBCELLS), dtype=bool)
    left, top, right, bottom = field or (0, 0, size_hw[1], size_hw[0])
    scale = np.array([width * _SUBCELLS / (right - left), height * _SUBCELLS / (bottom - top)] * 2)
    moved = (boxes - np.array([left, top] * 2)) * scale
    for x0, y0, x1, y1 in np.rint(moved).astype(int).clip(0):
        inside[y0:y1, x0:x1] = True
    covered: FloatArray = inside.reshape(height, _SUBCELLS, width, _SUBCELLS).mean(axis=(1, 3))
    return covered if 0 < covered.sum() < covered.size else None


def summarise_attention(rows: Iterable[ImageRow]) -> AttentionOnObject | None:
    """Summarise the ratios of images.

    Args:
        rows: Images; those without a ratio do not count.

    Returns:
        The summary; None if no image has a ratio.

    Raises:
        DataError: For a ratio below 0.
    """
    ratios = np.array([row.attention_ratio for row in rows if row.attention_ratio is not None])
    if not len(ratios):
        return None
    if (ratios < 0).any():
        raise DataError("an attention ratio below 0: expected attention that is not negative")
    return AttentionOnObject(float(np.median(ratios)), 100 * float((ratios < 1).mean()), len(ratios))
