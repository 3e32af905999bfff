"""What is wrong with a box that misses: the kinds of error of SLT-Net (Guo et al., CVPR 2021), and a wrong class."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from cdtr.metrics.loc_accuracy import LOC_IOU, ImageRow

# right: box and class; class: a right box, a wrong class; several: true boxes merged to one; part: the box is too
# small; background: it is too large; place: it is somewhere else.
ErrorKind: TypeAlias = Literal["right", "class", "several", "part", "background", "place"]
KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)

SEVERAL_SHARE, PART_SHARE, BACKGROUND_SHARE = 0.3, 0.5, 0.7
EXAMPLES = 8  # images named of each kind


def classify_error(
    box_xyxy: npt.ArrayLike, gt_boxes_xyxy: npt.ArrayLike, best_iou: float, class_right: bool, inclusive: bool = True
) -> ErrorKind:
    """The kind of a box (4,) against true boxes (N, 4), N may be 0. best_iou: its best IoU with any of them.

    A box that misses merges several objects if it covers over 0.3 of two or more true boxes; is a part if over half of
    it lies in the nearest true box, the one of the largest IoU; holds background if it covers over 0.7 of that one.
    """
    if best_iou >= LOC_IOU:
        return "right" if class_right else "class"
    box = np.asarray(box_xyxy, dtype=np.float64)
    gt_boxes = np.asarray(gt_boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    if not len(gt_boxes):
        return "place"
    sides = np.minimum(box[2:], gt_boxes[:, 2:]) - np.maximum(box[:2], gt_boxes[:, :2]) + inclusive
    shared = sides.clip(0).prod(axis=1)
    area, gt_areas = (
        (box[2:] - box[:2] + inclusive).prod(),
        (gt_boxes[:, 2:] - gt_boxes[:, :2] + inclusive).prod(axis=1),
    )
    if (shared > SEVERAL_SHARE * gt_areas).sum() >= 2:
        return "several"
    nearest = int((shared / np.maximum(area + gt_areas - shared, 1e-12)).argmax())
    if shared[nearest] > PART_SHARE * area:
        return "part"
    return "background" if shared[nearest] > BACKGROUND_SHARE * gt_areas[nearest] else "place"


def summarise_errors(rows: Iterable[ImageRow]) -> dict[str, dict[str, Any]]:
    """Of each kind the count, its percentage of the images with a box, and some image ids.

    The examples are those whose ids have the smallest hashes: no matter in which order the images came.
    """
    known = [row for row in rows if row.error is not None]
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        ids = [row.image_id for row in known if row.error == kind]
        chosen = sorted(ids, key=lambda name: hashlib.sha256(name.encode("utf-8")).digest())[:EXAMPLES]
        share = 100 * len(ids) / len(known) if known else 0.0
        found[kind] = {"count": len(ids), "percent": share, "examples": chosen}
    return found if known else {}
