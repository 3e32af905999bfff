"""Kinds of localization errors.

Reference: SLT-Net, Guo et al., CVPR 2021, which names the kinds of a box that misses; Cls is a hit of the wrong class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from cdtr.metrics.outcomes import ImageRow, localized

ErrorKind: TypeAlias = Literal["correct", "cls", "m_ins", "part", "more", "other"]
KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)
ERROR_TITLES: Mapping[str, str] = {
    "correct": "correct",
    "cls": "Cls (correct box, wrong class)",
    "m_ins": "M-Ins (several objects merged)",
    "part": "Part (too small)",
    "more": "More (too large)",
    "other": "Other (wrong place)",
}

MULTI_INSTANCE_SHARE, PART_SHARE, MORE_SHARE = 0.3, 0.5, 0.7
EXAMPLES = 8  # images named for each kind


def classify_error(
    box_xyxy: npt.ArrayLike, gt_boxes_xyxy: npt.ArrayLike, best_iou: float, class_correct: bool, inclusive: bool = True
) -> ErrorKind:
    """Find the kind of error of a box.

    A box that misses is M-Ins if it covers more than 0.3 of two or more true boxes; Part if more than half of it lies
    in the nearest true box, the one with the largest IoU; More if it covers more than 0.7 of that box; else Other.

    Args:
        box_xyxy: (4,) the box.
        gt_boxes_xyxy: (N, 4) true boxes; N may be 0.
        best_iou: Largest IoU of the box with any true box, in [0, 1].
        class_correct: Whether the predicted class is correct.
        inclusive: Whether the last pixel belongs to a box.

    Returns:
        ``correct`` for a hit of the correct class, ``cls`` for a hit of a wrong class, else the kind of the miss.
    """
    if localized(best_iou):
        return "correct" if class_correct else "cls"
    box = np.asarray(box_xyxy, dtype=np.float64)
    gt_boxes = np.asarray(gt_boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    if not len(gt_boxes):
        return "other"
    sides = np.minimum(box[2:], gt_boxes[:, 2:]) - np.maximum(box[:2], gt_boxes[:, :2]) + inclusive
    shared = sides.clip(0).prod(axis=1)
    area, gt_areas = (
        (box[2:] - box[:2] + inclusive).prod(),
        (gt_boxes[:, 2:] - gt_boxes[:, :2] + inclusive).prod(axis=1),
    )
    if (shared > MULTI_INSTANCE_SHARE * gt_areas).sum() >= 2:
        return "m_ins"
    nearest = int((shared / np.maximum(area + gt_areas - shared, 1e-12)).argmax())
    if shared[nearest] > PART_SHARE * area:
        return "part"
    return "more" if shared[nearest] > MORE_SHARE * gt_areas[nearest] else "other"


def summarise_errors(rows: Iterable[ImageRow]) -> dict[str, dict[str, Any]]:
    """Count the kinds of errors.

    Args:
        rows: Images; those without a kind do not count.

    Returns:
        By kind ``count``, ``percent`` of the images with a box, and ``examples``: ids of the images with the smallest
        hashes, so that their order does not matter. Empty if no image has a kind.
    """
    known = [row for row in rows if row.error is not None]
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        ids = [row.image_id for row in known if row.error == kind]
        chosen = sorted(ids, key=lambda name: hashlib.sha256(name.encode("utf-8")).digest())[:EXAMPLES]
        share = 100 * len(ids) / len(known) if known else 0.0
        found[kind] = {"count": len(ids), "percent": share, "examples": chosen}
    return found if known else {}
