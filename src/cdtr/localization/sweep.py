"""An evaluator's boxes at every threshold of a map, and how well they meet the ground truth.

The straightforward way searches contours afresh at each threshold. Here one component tree holds all of them; the
counts are the same (``tests/oracles``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

from cdtr.errors import DataError
from cdtr.localization.boxes import REFERENCE, BoxRule, check_inclusive, check_thresholds, grey_levels, to_uint8
from cdtr.localization.component_tree import component_tree, fill_holes, hole_boxes
from cdtr.localization.maps import check_score_map
from cdtr.records import FloatArray

IntArray = npt.NDArray[np.int32]
Thresholds = Sequence[float] | FloatArray


def largest_boxes(score_map: FloatArray, thresholds: Thresholds, rule: BoxRule = REFERENCE) -> npt.NDArray[np.int64]:
    """The rule's one box at each threshold, (T, 4). score_map: (H, W) in [0, 1]. thresholds: (T,) in [0, 1]."""
    levels, cuts = _cut(score_map, thresholds, rule)
    if rule.largest_by == "contour":
        # The largest contour is never a hole's and never lies in one, so holes can be filled.
        tree = component_tree(fill_holes(levels))
        order = np.lexsort((tree.firsts, tree.contour_areas))  # OpenCV lists contours from the bottom up
    else:
        tree = component_tree(levels)
        order = np.lexsort((-tree.firsts, tree.pixels))
    winners = np.full(int(cuts.max()) + 1, -1, dtype=np.int32)
    _paint(tree.births, tree.ends, order, winners)
    height, width = levels.shape
    empty = [0, 0, width, height] if rule.empty == "frame" else [0, 0, 0, 0]
    boxes = np.concatenate([_clipped(tree.boxes, rule, width, height), np.array([empty])])
    found: npt.NDArray[np.int64] = boxes[winners[cuts]].astype(np.int64)  # -1 is the last
    return found


def best_ious(
    score_map: FloatArray,
    gt_boxes_xyxy: npt.ArrayLike,
    thresholds: Thresholds,
    multi_contour: bool = False,
    rule: BoxRule = REFERENCE,
) -> npt.NDArray[np.float64]:
    """The best IoU (T,) of any predicted with any ground-truth box at each threshold.

    score_map: (H, W) in [0, 1]. gt_boxes_xyxy: (N, 4), N >= 1, in map pixels and the rule's convention. multi_contour:
    the boxes of all contours, holes' included, instead of the largest alone.
    """
    gt_boxes = check_inclusive(gt_boxes_xyxy)
    if not len(gt_boxes):
        raise DataError("no ground-truth box: expected at least one, leave images without boxes out")
    if not multi_contour:
        found: npt.NDArray[np.float64] = rule.iou(largest_boxes(score_map, thresholds, rule), gt_boxes).max(axis=1)
        return found
    births, ends, boxes, cuts = _all_contours(score_map, thresholds, rule)
    ious = rule.iou(boxes, gt_boxes).max(axis=1)
    winners = np.full(int(cuts.max()) + 1, -1, dtype=np.int32)
    _paint(births, ends, np.argsort(ious[:-1], kind="stable"), winners)
    best: npt.NDArray[np.float64] = ious[winners[cuts]]
    return best


def contour_boxes(
    score_map: FloatArray, thresholds: Thresholds, rule: BoxRule = REFERENCE
) -> list[npt.NDArray[np.int64]]:
    """The boxes (N, 4), N >= 1, of all contours at each threshold, in no order."""
    births, ends, boxes, cuts = _all_contours(score_map, thresholds, rule)
    by_cut = {int(cut): np.flatnonzero((births <= cut) & (cut < ends)) for cut in np.unique(cuts)}
    return [boxes[by_cut[int(cut)]] if len(by_cut[int(cut)]) else boxes[-1:] for cut in cuts]


def _all_contours(
    score_map: FloatArray, thresholds: Thresholds, rule: BoxRule
) -> tuple[IntArray, IntArray, npt.NDArray[np.int64], IntArray]:
    """(births, ends, boxes, cuts) of components and holes; one box more, the last, is that of an empty foreground."""
    levels, cuts = _cut(score_map, thresholds, rule)
    tree = component_tree(levels)
    births, ends, around = hole_boxes(levels)
    height, width = levels.shape
    empty = [0, 0, width, height] if rule.empty == "frame" else [0, 0, 0, 0]
    boxes = np.concatenate([_clipped(np.concatenate([tree.boxes, around]), rule, width, height), np.array([empty])])
    joined = np.concatenate([tree.births, births]), np.concatenate([tree.ends, ends])
    return (*joined, boxes.astype(np.int64), cuts)


def _cut(score_map: FloatArray, thresholds: Thresholds, rule: BoxRule) -> tuple[IntArray, IntArray]:
    """(levels (H, W), cuts (T,)): the foreground at threshold t is ``levels > cuts[t]``."""
    if rule.threshold_of == "maximum":
        grey = to_uint8(score_map)
        different, cuts = np.unique(grey_levels(grey, thresholds), return_inverse=True)
        levels = np.searchsorted(different, np.arange(256), "left")[grey]
    else:
        check_score_map(score_map)
        different, cuts = np.unique(check_thresholds(thresholds), return_inverse=True)
        levels = np.searchsorted(different, score_map.astype(np.float64), "left")
    return levels.astype(np.int32), cuts.reshape(-1).astype(np.int32)


def _clipped(boxes: IntArray, rule: BoxRule, width: int, height: int) -> IntArray:
    if not rule.clip_corner:
        return boxes
    return np.minimum(boxes, np.array([width, height, width - 1, height - 1], dtype=np.int32))


@njit(cache=True, nogil=True)
def _paint(births, ends, order, winners):  # type: ignore[no-untyped-def]
    """At each cut the last component in ``order`` that is alive there."""
    for index in order:
        for cut in range(births[index], min(ends[index], len(winners))):
            winners[cut] = index
