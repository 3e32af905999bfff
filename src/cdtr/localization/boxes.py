"""Boxes from a score map: threshold, contours or components, bounding boxes; and the overlap of boxes.

Two conventions meet here. Boxes for users are half-open ``xyxy`` in map pixels, (N, 4), N may be 0. Boxes of the
public evaluator (Choe et al. 2020; functions named ``reference`` or ``inclusive``) are ``[x, y, min(x+w, W-1),
min(y+h, H-1)]``, count the last pixel as part of the box, and are ``[0, 0, 0, 0]`` where nothing was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.localization.maps import check_score_map
from cdtr.records import FloatArray, UInt8Array

BoxArray = npt.NDArray[np.int64]
Contour = npt.NDArray[Any]  # (points, 1, 2), x before y


def threshold_mask(score_map: FloatArray, threshold: float) -> UInt8Array:
    """Foreground (H, W) of a map in [0, 1], 255 or 0: strictly above ``int(threshold * maximum)`` of the 8-bit map."""
    grey = to_uint8(score_map)
    (level,) = grey_levels(grey, (threshold,))
    return _above(grey, int(level))


def largest_box(score_map: FloatArray, threshold: float) -> BoxArray:
    """The box around the contour of largest polygon area: half-open (1, 4), or (0, 4) where nothing is foreground."""
    contours = _contours(threshold_mask(score_map, threshold), cv2.RETR_TREE)
    if not contours:
        return np.zeros((0, 4), dtype=np.int64)
    x, y, width, height = cv2.boundingRect(_largest(contours))
    return np.array([[x, y, x + width, y + height]], dtype=np.int64)


def component_boxes(score_map: FloatArray, threshold: float, min_area_share: float = 0.0) -> BoxArray:
    """A half-open box for each 8-connected component whose pixels are at least ``min_area_share`` of the map's.

    Sorted by pixels, then by box area, the largest first; (0, 4) where there is none.
    """
    return scored_components(score_map, threshold, min_area_share)[0]


def scored_components(
    score_map: FloatArray, threshold: float, min_area_share: float = 0.0
) -> tuple[BoxArray, npt.NDArray[np.float64]]:
    """The boxes (N, 4) of ``component_boxes``, and the mean of the map over the pixels of each component, (N,)."""
    check_area_share(min_area_share)
    mask = threshold_mask(score_map, threshold)
    _, components, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    left, top, width, height, pixels = stats[1:].astype(np.int64).T  # row 0 is the background
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    means = np.bincount(components.ravel(), score_map.ravel(), len(stats))[1:] / pixels
    order = np.lexsort((-width * height, -pixels))
    kept = order[pixels[order] >= min_area_share * mask.size]
    return boxes[kept], means[kept]


def component_masks(score_map: FloatArray, threshold: float, boxes_xyxy: FloatArray | BoxArray) -> UInt8Array:
    """The regions (N, H, W), 1 or 0, that boxes (N, 4) of ``largest_box`` or ``component_boxes`` are drawn around.

    See ``component_regions``.
    """
    masks = np.zeros((len(boxes_xyxy), *score_map.shape), dtype=np.uint8)
    regions = component_regions(score_map, threshold, boxes_xyxy)
    for mask, region, (x0, y0, x1, y1) in zip(masks, regions, np.asarray(boxes_xyxy).tolist(), strict=True):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = region
    return masks


def component_regions(
    score_map: FloatArray, threshold: float, boxes_xyxy: FloatArray | BoxArray
) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield the part of the map in each box (N, 4), true in the region that the box is drawn around.

    Of 8-connected components with the same box the one of most pixels comes first. DataError for a box of none.
    """
    _, components, stats, _ = cv2.connectedComponentsWithStats(threshold_mask(score_map, threshold), connectivity=8)
    left = sorted(range(1, len(stats)), key=lambda component: -int(stats[component, cv2.CC_STAT_AREA]))
    for x0, y0, x1, y1 in np.asarray(boxes_xyxy).tolist():
        same = [component for component in left if stats[component, :4].tolist() == [x0, y0, x1 - x0, y1 - y0]]
        if not same:
            raise DataError(f"box {[x0, y0, x1, y1]} is around no region above {threshold}: take the box's own map")
        left.remove(same[0])
        yield components[int(y0) : int(y1), int(x0) : int(x1)] == same[0]


def check_area_share(share: float) -> None:
    """DataError unless the share is in [0, 1]."""
    if not 0 <= share <= 1:
        raise DataError(f"smallest area {share}: expected a share of the image from 0 to 1, such as 0.01")


@dataclass(frozen=True, slots=True)
class BoxRule:
    """How an evaluator turns a map and a threshold into one box or several, and how it measures overlap.

    threshold_of: ``maximum``, foreground is ``u8 > int(threshold * u8.max())`` of the 8-bit map; ``absolute``, it is
    ``map > threshold``. largest_by: what the one box is chosen by, the area of the contour's polygon (of equals
    OpenCV's first) or the number of pixels (of equals the first in raster order). empty: the box where nothing is
    foreground, ``corner`` [0, 0, 0, 0] or the whole ``frame``. inclusive: whether the last pixel counts as part of a
    box, which makes every side one pixel longer; without it boxes are half-open. clip_corner: predicted corners are at
    most the last pixel, as in Choe et al. 2020.
    """

    threshold_of: Literal["maximum", "absolute"] = "maximum"
    largest_by: Literal["contour", "pixels"] = "contour"
    empty: Literal["corner", "frame"] = "corner"
    inclusive: bool = True
    clip_corner: bool = True

    def iou(self, a_xyxy: npt.ArrayLike, b_xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Intersection over union (N, M) of boxes (N, 4) and (M, 4), as this rule counts pixels."""
        return iou_inclusive(a_xyxy, b_xyxy) if self.inclusive else iou_half_open(a_xyxy, b_xyxy)


REFERENCE = BoxRule()  # of the public evaluator


def iou_inclusive(a_xyxy: npt.ArrayLike, b_xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4) as the evaluator counts it: sides are one pixel longer.

    Raises DataError for a box that is inverted or has a negative corner.
    """
    a, b = check_inclusive(a_xyxy), check_inclusive(b_xyxy)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low + 1, 0, None).prod(axis=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) for boxes in (a, b))
    share: npt.NDArray[np.float64] = shared / (area_a[:, None] + area_b[None, :] - shared)
    return share


def iou_half_open(a_xyxy: npt.ArrayLike, b_xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union (N, M) of half-open boxes (N, 4) and (M, 4); 0 where both are empty."""
    a, b = check_inclusive(a_xyxy), check_inclusive(b_xyxy)
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    share: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return share


def check_inclusive(boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The boxes as float64 (N, 4); DataError for a shape, an inverted box or a negative corner."""
    boxes = _as_boxes(boxes_xyxy)
    wrong = (boxes[:, :2] > boxes[:, 2:]).any(axis=1) | (boxes < 0).any(axis=1)
    if wrong.any():
        raise DataError(
            f"box {boxes[wrong][0].tolist()} is inverted or negative: expected [x0, y0, x1, y1] with "
            "0 <= x0 <= x1 and 0 <= y0 <= y1, correct the annotation"
        )
    return boxes


def _as_boxes(boxes_xyxy: npt.ArrayLike) -> npt.NDArray[np.float64]:
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"boxes of shape {boxes.shape}: expected (N, 4), no box is (0, 4)")
    if not np.isfinite(boxes).all():
        raise DataError("boxes hold NaN or infinity: expected finite pixel coordinates")
    return boxes


def to_uint8(score_map: FloatArray) -> UInt8Array:
    """The 8-bit map (H, W) of a map in [0, 1], truncated; DataError for any other map."""
    check_score_map(score_map)
    return (score_map * 255).astype(np.uint8)


def check_thresholds(thresholds: Sequence[float] | FloatArray) -> npt.NDArray[np.float64]:
    """The thresholds as float64 (T,), T >= 1; DataError for one outside [0, 1]."""
    shares = np.asarray(thresholds, dtype=np.float64)
    if shares.ndim != 1 or not len(shares) or not ((shares >= 0) & (shares <= 1)).all():
        raise DataError(f"map thresholds {thresholds}: expected numbers from 0 to 1, shares of the map's maximum")
    return shares


def grey_levels(grey: UInt8Array, thresholds: Sequence[float] | FloatArray) -> npt.NDArray[np.int64]:
    """Each threshold as the 8-bit value that foreground must exceed."""
    return (check_thresholds(thresholds) * int(grey.max())).astype(np.int64)


def _above(grey: UInt8Array, level: int) -> UInt8Array:
    return np.asarray(cv2.threshold(grey, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)


def _contours(mask: UInt8Array, mode: int) -> Sequence[Contour]:
    return cv2.findContours(mask, mode, cv2.CHAIN_APPROX_SIMPLE)[0]


def _largest(contours: Sequence[Contour]) -> Contour:
    return contours[0] if len(contours) == 1 else max(contours, key=cv2.contourArea)
