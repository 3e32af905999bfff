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
from cdtr.evaluation.protocols import Protocol, place_boxes, place_map, place_mask
from cdtr.localization.boxes import check_inclusive
from cdtr.localization.sweep import best_ious, largest_boxes
from cdtr.metrics.errors import ErrorKind, classify_error
from cdtr.metrics.loc_accuracy import ImageRow
from cdtr.metrics.pxap import pixel_histograms
from cdtr.records import Annotation, FloatArray, Sample

Annotate: TypeAlias = Callable[[Sample], Annotation | None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything the metrics need of one image; None where the image has no box or no mask.

    gt_boxes: (N, 4) in the protocol's frame. single, multi: best IoU at each threshold (T,), for the label's map with
    the largest contour and with all contours. histograms: (2, bins) of PxAP.
    """

    row: ImageRow
    gt_boxes: npt.NDArray[np.float64] | None = None
    single: npt.NDArray[np.float64] | None = None
    multi: npt.NDArray[np.float64] | None = None
    histograms: npt.NDArray[np.int64] | None = None


def score_map(answer: ImageAnswer, protocol: Protocol) -> FloatArray:
    """The map of an answer that the protocol scores for GT-known Loc, in its frame, within [0, 1]."""
    return _placed(answer.label_map if protocol.map_of == "label" else answer.predicted_map, answer, protocol)


def _placed(coarse_map: FloatArray, answer: ImageAnswer, protocol: Protocol) -> FloatArray:
    if answer.as_given and protocol.crop is None and coarse_map.shape == protocol.frame_hw:
        return coarse_map
    return place_map(coarse_map, answer.size_hw, protocol)


def true_boxes(
    answer: ImageAnswer, annotation: Annotation | None, protocol: Protocol
) -> npt.NDArray[np.float64] | None:
    """The image's boxes (N, 4) in the protocol's frame, N may be 0 where a crop shows none; None without annotation.

    DataError names the image of a broken one.
    """
    if annotation is None or not len(annotation.boxes_xyxy):
        return None
    try:
        boxes = place_boxes(annotation.boxes_xyxy, answer.size_hw, protocol)
        check_inclusive(boxes)
    except DataError as error:
        raise DataError(f"{answer.sample.image_id}: {error}") from error
    return boxes


def box_ious(
    frame_map: FloatArray,
    gt_boxes: npt.NDArray[np.float64],
    thresholds: FloatArray,
    protocol: Protocol,
    multi_contour: bool = False,
) -> npt.NDArray[np.float64]:
    """``best_ious`` under the protocol; 0 where the crop shows no true box."""
    if not len(gt_boxes):
        return np.zeros(len(thresholds))
    return best_ious(frame_map, gt_boxes, thresholds, multi_contour, protocol.boxes)


def measure(
    answer: ImageAnswer,
    annotation: Annotation | None,
    protocol: Protocol,
    thresholds: FloatArray,
    edges: npt.NDArray[np.float64],
    threshold: float | None,
) -> Measures:
    """Score one image. thresholds: (T,) of the sweep; edges: of PxAP's histogram; threshold: the one in use, if any."""
    gt_boxes = true_boxes(answer, annotation, protocol)
    mask = annotation.mask if annotation is not None else None
    if gt_boxes is None and mask is None:
        return Measures(_row(answer, None, None))
    frame_map = score_map(answer, protocol)
    histograms = None
    if mask is not None:
        histograms = pixel_histograms(frame_map, place_mask(mask, protocol), edges)
    if gt_boxes is None:
        return Measures(_row(answer, None, None), histograms=histograms)
    of_label = of_predicted = error = None
    swept = thresholds if threshold is None else np.append(thresholds, threshold)
    single = box_ious(frame_map, gt_boxes, swept, protocol)
    if threshold is not None:
        of_label = of_predicted = float(single[-1])
        (box,) = largest_boxes(frame_map, (threshold,), protocol.boxes)
        right = answer.predicted == answer.label
        error = classify_error(box, gt_boxes, of_label, right, protocol.boxes.inclusive)
        if answer.predicted != answer.label and protocol.map_of == "label":
            other_map = _placed(answer.predicted_map, answer, protocol)
            of_predicted = float(box_ious(other_map, gt_boxes, np.array([threshold]), protocol)[0])
    return Measures(
        row=_row(answer, of_label, of_predicted, error),
        gt_boxes=gt_boxes,
        single=single[: len(thresholds)],
        multi=box_ious(frame_map, gt_boxes, thresholds, protocol, multi_contour=True),
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


def _row(
    answer: ImageAnswer, iou_label: float | None, iou_predicted: float | None, error: ErrorKind | None = None
) -> ImageRow:
    return ImageRow(
        image_id=answer.sample.image_id,
        label=answer.label,
        predicted=answer.predicted,
        prob=answer.prob,
        in_top5=answer.in_top5,
        iou_label=iou_label,
        iou_predicted=iou_predicted,
        error=error,
    )
