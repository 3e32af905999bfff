"""Whether the attention lies on the object: its strength in the true boxes against its strength outside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.metrics.loc_accuracy import ImageRow
from cdtr.records import Field, FloatArray


@dataclass(frozen=True, slots=True)
class AttentionOnObject:
    """median_ratio: strength in the boxes over strength outside, the median over the images; 1 where attention does not
    care, below 1 where it paints the object dark. inside_out: percent of the images where it does. n_images: with boxes
    that leave some of the image outside.
    """

    median_ratio: float
    inside_out: float
    n_images: int

    def to_json(self) -> dict[str, Any]:
        return {"median_ratio": self.median_ratio, "inside_out": self.inside_out, "n_images": self.n_images}


def inside_outside_ratio(
    attention: FloatArray, boxes_xyxy: npt.ArrayLike, size_hw: tuple[int, int], field: Field | None = None
) -> float | None:
    """Mean attention in the boxes over the mean outside them; None where the boxes leave nothing or hold nothing.

    attention: (h, w), >= 0, of the image, or of the part ``field`` of it. boxes_xyxy: (N, 4), half-open, pixels of an
    image of ``size_hw``. A patch counts by the share of it that the boxes cover, to a sixteenth of a patch's side.
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
    """The shares, in [0, 1], of the attention and of the image's area that lie outside the boxes; they are equal where
    attention does not care for the object. Arguments and None as ``inside_outside_ratio``, and None without attention.
    """
    covered = covered_shares(attention, boxes_xyxy, size_hw, field)
    total = float(attention.sum())
    if covered is None or not total > 0:
        return None
    return float((attention * (1 - covered)).sum()) / total, float(1 - covered.mean())


def covered_shares(
    attention: FloatArray, boxes_xyxy: npt.ArrayLike, size_hw: tuple[int, int], field: Field | None = None
) -> FloatArray | None:
    """The share (h, w) of each patch that the boxes cover; None where they leave nothing or hold nothing."""
    height, width = attention.shape
    boxes = np.asarray(boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    if not len(boxes) or not np.isfinite(attention).all():
        return None
    fine = 16
    inside = np.zeros((height * fine, width * fine), dtype=bool)
    left, top, right, bottom = field or (0, 0, size_hw[1], size_hw[0])
    scale = np.array([width * fine / (right - left), height * fine / (bottom - top)] * 2)
    moved = (boxes - np.array([left, top] * 2)) * scale
    for x0, y0, x1, y1 in np.rint(moved).astype(int).clip(0):
        inside[y0:y1, x0:x1] = True
    covered: FloatArray = inside.reshape(height, fine, width, fine).mean(axis=(1, 3))
    return covered if 0 < covered.sum() < covered.size else None


def summarise_attention(rows: Iterable[ImageRow]) -> AttentionOnObject | None:
    """Over all images that have a ratio; None without one."""
    ratios = np.array([row.attention_ratio for row in rows if row.attention_ratio is not None])
    if not len(ratios):
        return None
    if (ratios < 0).any():
        raise DataError("an attention ratio below 0: expected attention that is not negative")
    return AttentionOnObject(float(np.median(ratios)), 100 * float((ratios < 1).mean()), len(ratios))
