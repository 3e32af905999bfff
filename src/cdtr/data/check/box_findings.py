"""Findings about annotated boxes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cdtr.data.check.findings import Finding, counted
from cdtr.data.check.scan import BoxFacts
from cdtr.records import FloatArray

_PIXEL = 1.0  # rounding may move an edge as far
_OUTSIDE = 0.05  # share of a box's area

Mask = npt.NDArray[np.bool_]


def find_box_faults(boxes: Sequence[BoxFacts], empty: Collection[int] = ()) -> Iterator[Finding]:
    """Annotations that cannot be read, boxes that do not fit their image, and images without any, by split.

    empty: labels of the classes without an object, whose images need no box.
    """
    for split in dict.fromkeys(one.image.split for one in boxes):
        yield from _of_split(split, [one for one in boxes if one.image.split == split], empty)


def _of_split(split: str, boxes: Sequence[BoxFacts], empty: Collection[int]) -> Iterator[Finding]:
    unreadable = [one for one in boxes if one.fault is not None]
    if unreadable:
        others = f", and the annotations of {counted(len(unreadable) - 1)} more" if len(unreadable) > 1 else ""
        yield Finding("boxes-unreadable", f"{split}: {unreadable[0].fault}{others}", _ids(unreadable))
    for kind, test, what in (
        ("boxes-empty", is_empty, "boxes without an inside"),
        ("boxes-outside", is_outside, "boxes that lie outside"),
        ("boxes-overhang", overhangs, "boxes that reach over the edge"),
    ):
        found = [(one, wrong[0]) for one in boxes if len(wrong := _boxes_that(test, one))]
        if found:
            yield Finding(
                kind, f"{split}: {what} in {counted(len(found))}, such as {_show(*found[0])}", _ids(o for o, _ in found)
            )
    boxes = [one for one in boxes if one.image.sample.label not in empty]
    with_boxes = [one for one in boxes if _has_boxes(one)]
    without = [one for one in boxes if one.fault is None and not _has_boxes(one)] if with_boxes else []
    if without:
        unknown = sum(one.annotation is None for one in without)
        message = (
            f"{split}: no box of its class in {len(without)} of {counted(len(boxes))}, {unknown} of these without any "
            "annotation: they are scored for their class only"
        )
        yield Finding("boxes-missing", message, _ids(without))


def is_empty(boxes_xyxy: FloatArray, _size_hw: tuple[int, int]) -> Mask:
    """Which of the boxes (N, 4) have no inside or no finite corners."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return np.asarray(~((sides > 0).all(axis=1) & np.isfinite(boxes_xyxy).all(axis=1)))


def is_outside(boxes_xyxy: FloatArray, size_hw: tuple[int, int]) -> Mask:
    """Which of the boxes (N, 4), if not empty, lie outside by over a twentieth, or start before the image does.

    Of all of them the part inside counts, in every command alike.
    """
    height, width = size_hw
    clipped = np.clip(boxes_xyxy, 0, np.array([width, height] * 2))
    with np.errstate(invalid="ignore"):
        area, inside = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes_xyxy, clipped))
        outside = (inside < (1 - _OUTSIDE) * area) & (_reach(boxes_xyxy, size_hw) > _PIXEL)
        before = (boxes_xyxy[:, :2] < -_PIXEL).any(axis=1)
    return np.asarray((outside | before) & ~is_empty(boxes_xyxy, size_hw))


def overhangs(boxes_xyxy: FloatArray, size_hw: tuple[int, int]) -> Mask:
    """Which of the boxes (N, 4), if not empty, reach over the image's edge by over a pixel, but not as far as that."""
    wrong = is_empty(boxes_xyxy, size_hw) | is_outside(boxes_xyxy, size_hw)
    with np.errstate(invalid="ignore"):
        return np.asarray((_reach(boxes_xyxy, size_hw) > _PIXEL) & ~wrong)


def _reach(boxes_xyxy: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """By how many pixels each box (N, 4) reaches out of the image."""
    height, width = size_hw
    far = np.concatenate([-boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - np.array([width, height])], axis=1)
    return np.asarray(far.max(axis=1))


def _boxes_that(test: Callable[[FloatArray, tuple[int, int]], Mask], one: BoxFacts) -> FloatArray:
    if one.annotation is None or one.image.size_hw is None:
        return np.zeros((0, 4))
    annotation = one.annotation
    boxes = annotation.boxes_xyxy if annotation.written_xyxy is None else annotation.written_xyxy
    return boxes[test(boxes, one.image.size_hw)]


def _has_boxes(one: BoxFacts) -> bool:
    return one.annotation is not None and len(one.annotation.boxes_xyxy) > 0


def _show(one: BoxFacts, box: FloatArray) -> str:
    height, width = one.image.size_hw or (0, 0)
    corners = ", ".join(f"{value:g}" for value in box.round(2))
    return f"{one.image.sample.image_id} of {width} x {height} has {corners}"


def _ids(boxes: Iterable[BoxFacts]) -> tuple[str, ...]:
    return tuple(one.image.sample.image_id for one in boxes)
