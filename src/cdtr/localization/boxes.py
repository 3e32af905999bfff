"""Boxes from a score map: threshold, contours or components, bounding boxes; and the overlap of boxes.

Two conventions meet here. Boxes for users are half-open ``xyxy`` in map pixels, (N, 4), N may be 0. Boxes of the
public evaluator (Choe et al. 2020; functions named ``reference`` or ``inclusive``) are ``[x, y, min(x+w, W-1),
min(y+h, H-1)]``, count the last pixel as part of the box, and are ``[0, 0, 0, 0]`` where nothing was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.localization.maps import check_score_map
from cdtr.records import FloatArray, UInt8Array

BoxArray = npt.NDArray[np.int64]
Contour = npt.NDArray[Any]  # (points, 1, 2), x before y

_NO_BOX = (0, 0, 0, 0)


def threshold_mask(score_map: FloatArray, threshold: float) -> UInt8Array:
    """Foreground (H, W) of a map in [0, 1], 255 or 0: strictly above ``int(threshold * maximum)`` of the 8-bit map."""
    grey = _to_uint8(score_map)
    (level,) = _grey_levels(grey, (threshold,))
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
    check_area_share(min_area_share)
    mask = threshold_mask(score_map, threshold)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    left, top, width, height, pixels = stats[1:].astype(np.int64).T  # row 0 is the background
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    order = np.lexsort((-width * height, -pixels))
    kept: BoxArray = boxes[order[pixels[order] >= min_area_share * mask.size]]
    return kept


def check_area_share(share: float) -> None:
    """DataError unless the share is in [0, 1]."""
    if not 0 <= share <= 1:
        raise DataError(f"smallest area {share}: expected a share of the image from 0 to 1, such as 0.01")


def reference_boxes(score_map: FloatArray, threshold: float, multi: bool = False) -> BoxArray:
    """The evaluator's boxes at one threshold, inclusive (N, 4), N >= 1: of the largest contour, or of all contours."""
    return threshold_sweep(score_map, (threshold,), multi)[0]


def threshold_sweep(
    score_map: FloatArray, thresholds: Sequence[float] | FloatArray, multi: bool = False
) -> list[BoxArray]:
    """``reference_boxes`` at every threshold; equal foregrounds share one array, so at most 256 are searched."""
    swept = sweep_boxes(score_map, thresholds, multi)
    groups = np.split(swept.boxes, swept.starts[1:])
    return [groups[group] for group in swept.group_of_threshold]


@dataclass(frozen=True, slots=True)
class SweptBoxes:
    """The evaluator's boxes of all thresholds, each different foreground once.

    boxes: (M, 4) inclusive, the groups one after the other. starts: (G,), where each group begins.
    group_of_threshold: (T,), the group of each threshold.
    """

    boxes: BoxArray
    starts: npt.NDArray[np.int64]
    group_of_threshold: npt.NDArray[np.int64]


def sweep_boxes(score_map: FloatArray, thresholds: Sequence[float] | FloatArray, multi: bool = False) -> SweptBoxes:
    """Search each different foreground once, inside the rows and columns that hold one."""
    grey = _to_uint8(score_map)
    levels = _grey_levels(grey, thresholds)
    # Two levels with no pixel value between them have the same foreground.
    values = np.flatnonzero(np.bincount(grey.ravel(), minlength=256))
    _, firsts, groups = np.unique(np.searchsorted(values, levels, "right"), return_index=True, return_inverse=True)
    distinct = levels[firsts]
    tops, bottoms = _extents(grey.max(axis=1), distinct)
    lefts, rights = _extents(grey.max(axis=0), distinct)
    find = _all_boxes if multi else _one_box
    boxes: list[tuple[int, int, int, int]] = []
    starts: list[int] = []
    for level, top, bottom, left, right in zip(distinct.tolist(), tops, bottoms, lefts, rights, strict=True):
        starts.append(len(boxes))
        if top >= bottom:
            boxes.append(_NO_BOX)
            continue
        part = _above(grey[top:bottom, left:right], level)
        boxes += ((x + left, y + top, x + left + w, y + top + h) for x, y, w, h in find(part))
    corners = np.array(boxes, dtype=np.int64)
    height, width = grey.shape
    np.minimum(corners, [width, height, width - 1, height - 1], out=corners)
    return SweptBoxes(corners, np.array(starts, dtype=np.int64), groups.reshape(-1).astype(np.int64))


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


def _to_uint8(score_map: FloatArray) -> UInt8Array:
    check_score_map(score_map)
    return (score_map * 255).astype(np.uint8)


def _grey_levels(grey: UInt8Array, thresholds: Sequence[float] | FloatArray) -> npt.NDArray[np.int64]:
    """Each threshold as the 8-bit value that foreground must exceed."""
    shares = np.asarray(thresholds, dtype=np.float64)
    if shares.ndim != 1 or not ((shares >= 0) & (shares <= 1)).all():
        raise DataError(f"map thresholds {thresholds}: expected numbers from 0 to 1, shares of the map's maximum")
    return (shares * int(grey.max())).astype(np.int64)


def _above(grey: UInt8Array, level: int) -> UInt8Array:
    return np.asarray(cv2.threshold(grey, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)


def _contours(mask: UInt8Array, mode: int) -> Sequence[Contour]:
    return cv2.findContours(mask, mode, cv2.CHAIN_APPROX_SIMPLE)[0]


def _largest(contours: Sequence[Contour]) -> Contour:
    return contours[0] if len(contours) == 1 else max(contours, key=cv2.contourArea)


def _one_box(mask: UInt8Array) -> list[Sequence[int]]:
    # A hole's contour never encloses more than the outer one around it, so the outer contours suffice.
    return [cv2.boundingRect(_largest(_contours(mask, cv2.RETR_EXTERNAL)))]


def _all_boxes(mask: UInt8Array) -> list[Sequence[int]]:
    return [cv2.boundingRect(contour) for contour in _contours(mask, cv2.RETR_LIST)]


def _extents(profile: UInt8Array, levels: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """For each level the half-open range from the first to the last entry above it, empty where none is."""
    from_start = np.maximum.accumulate(profile)
    from_end = np.maximum.accumulate(profile[::-1])
    firsts = np.searchsorted(from_start, levels, "right")
    ends = len(profile) - np.searchsorted(from_end, levels, "right")
    return firsts.tolist(), ends.tolist()
