"""The work of the CPU for one image: maps to boxes, IoUs and histograms. Pure functions, run by a pool of threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.evaluation.forward import ImageAnswer
from cdtr.evaluation.protocols import Protocol, scale_corners, scale_mask
from cdtr.localization.boxes import check_inclusive
from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.localization.sweep import best_ious
from cdtr.metrics.loc_accuracy import ImageRow
from cdtr.metrics.pxap import pixel_histograms
from cdtr.records import Annotation, FloatArray, Sample

Annotate: TypeAlias = Callable[[Sample], Annotation | None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything the metrics need of one image; None where the image has no box or no mask.

    gt_boxes: (N, 4) inclusive, in map pixels. single, multi: best IoU at each threshold (T,), for the label's map with
    the largest contour and with all contours. histograms: (2, bins) of PxAP.
    """

    row: ImageRow
    gt_boxes: npt.NDArray[np.int64] | None = None
    single: npt.NDArray[np.float64] | None = None
    multi: npt.NDArray[np.float64] | None = None
    histograms: npt.NDArray[np.int64] | None = None


def score_map(coarse_map: FloatArray, protocol: Protocol) -> FloatArray:
    """A method's map (h, w) as the evaluator takes it: at the protocol's size, within [0, 1]."""
    return normalise_maps(resize_map(coarse_map, protocol.map_size_hw, protocol.interpolation))


def gt_corners(answer: ImageAnswer, annotation: Annotation | None, protocol: Protocol) -> npt.NDArray[np.int64] | None:
    """The image's boxes in map pixels, or None where it has none; DataError names the image of a broken one."""
    if annotation is None or not len(annotation.boxes_xyxy):
        return None
    try:
        corners = scale_corners(annotation.boxes_xyxy, answer.size_hw, protocol.map_size_hw)
        check_inclusive(corners)
    except DataError as error:
        raise DataError(f"{answer.sample.image_id}: {error}") from error
    return corners


def measure(
    answer: ImageAnswer,
    annotation: Annotation | None,
    protocol: Protocol,
    thresholds: FloatArray,
    edges: npt.NDArray[np.float64],
    threshold: float | None,
) -> Measures:
    """Score one image. thresholds: (T,) of the sweep; edges: of PxAP's histogram; threshold: the one in use, if any."""
    gt_boxes = gt_corners(answer, annotation, protocol)
    mask = annotation.mask if annotation is not None else None
    if gt_boxes is None and mask is None:
        return Measures(_row(answer, None, None))
    label_map = score_map(answer.label_map, protocol)
    histograms = None
    if mask is not None:
        histograms = pixel_histograms(label_map, scale_mask(mask, protocol.map_size_hw), edges)
    if gt_boxes is None:
        return Measures(_row(answer, None, None), histograms=histograms)
    of_label = of_predicted = None
    if threshold is not None:
        of_label = of_predicted = _best_iou(label_map, gt_boxes, threshold)
        if answer.predicted != answer.label:
            of_predicted = _best_iou(score_map(answer.predicted_map, protocol), gt_boxes, threshold)
    return Measures(
        row=_row(answer, of_label, of_predicted),
        gt_boxes=gt_boxes,
        single=best_ious(label_map, gt_boxes, thresholds),
        multi=best_ious(label_map, gt_boxes, thresholds, multi_contour=True),
        histograms=histograms,
    )


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[Result]:
    """``map`` with threads that keeps the order and never holds more than a few items; OpenCV releases the GIL."""
    n_threads = workers or min(8, os.cpu_count() or 1)
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 64 * n_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:  # only after an error, which should not wait for the rest
                future.cancel()


def _row(answer: ImageAnswer, iou_label: float | None, iou_predicted: float | None) -> ImageRow:
    return ImageRow(
        image_id=answer.sample.image_id,
        label=answer.label,
        predicted=answer.predicted,
        prob=answer.prob,
        in_top5=answer.in_top5,
        iou_label=iou_label,
        iou_predicted=iou_predicted,
    )


def _best_iou(label_map: FloatArray, gt_boxes: npt.NDArray[np.int64], threshold: float) -> float:
    return float(best_ious(label_map, gt_boxes, (threshold,))[0])
