"""The work of the CPU for one image: maps to boxes, IoUs and histograms. Pure functions, run by a pool of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from cdtr.cores import core_count
from cdtr.errors import DataError
from cdtr.evaluation.forward import ImageAnswer
from cdtr.evaluation.protocols import Protocol, place_boxes, place_map, place_mask, scale_boxes
from cdtr.localization.boxes import check_inclusive, largest_box
from cdtr.localization.quality import BoxQuality, box_features
from cdtr.localization.sweep import best_ious, largest_boxes
from cdtr.metrics import ImageRow
from cdtr.metrics.attention import inside_outside_ratio
from cdtr.metrics.errors import ErrorKind, classify_error
from cdtr.metrics.pxap import pixel_histograms
from cdtr.records import Annotation, FloatArray, Sample, UInt8Array

_MASK_STRETCH = 0.05  # more would move a mask's edge by more than a few pixels of the frame

Annotate: TypeAlias = Callable[[Sample], Annotation | None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ScoredBox:
    """A box that somebody gives: (x0, y0, x1, y1), half-open, source pixels; any finite score, the best the largest."""

    label: int
    score: float
    box_xyxy: tuple[float, float, float, float]


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
    return place_answer(answer.label_map if protocol.map_of == "label" else answer.predicted_map, answer, protocol)


def place_answer(coarse_map: FloatArray, answer: ImageAnswer, protocol: Protocol) -> FloatArray:
    """A map of an answer in the protocol's frame, within [0, 1]."""
    if answer.as_given and protocol.crop is None and coarse_map.shape == protocol.frame_hw:
        return coarse_map
    return place_map(coarse_map, answer.size_hw, protocol, answer.field)


def true_boxes(
    sample: Sample, size_hw: tuple[int, int], annotation: Annotation | None, protocol: Protocol
) -> npt.NDArray[np.float64] | None:
    """The image's boxes (N, 4) in the protocol's frame, N may be 0 where a crop shows none; None without annotation.

    DataError names the image of a broken one.
    """
    if annotation is None or not len(annotation.boxes_xyxy):
        return None
    try:
        boxes = place_boxes(annotation.boxes_xyxy, size_hw, protocol)
        check_inclusive(boxes)
    except DataError as error:
        raise DataError(f"{sample.image_id}: {error}") from error
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
    quality: BoxQuality | None = None,
) -> Measures:
    """Score one image. thresholds: (T,) of the sweep; edges: of PxAP's histogram; threshold: the one in use, if any;
    quality: what scores the predicted class's box at that threshold, if anything.
    """
    gt_boxes = true_boxes(answer.sample, answer.size_hw, annotation, protocol)
    mask = annotation.mask if annotation is not None else None
    if gt_boxes is None and mask is None:
        return Measures(_row(answer, None, None))
    frame_map = score_map(answer, protocol)
    histograms = None
    if mask is not None:
        _check_proportions(mask, answer)
        histograms = pixel_histograms(frame_map, place_mask(mask, protocol), edges)
    if gt_boxes is None:
        return Measures(_row(answer, None, None), histograms=histograms)
    of_label = of_predicted = error = score = None
    swept = thresholds if threshold is None else np.append(thresholds, threshold)
    single = box_ious(frame_map, gt_boxes, swept, protocol)
    if threshold is not None:
        of_label = of_predicted = float(single[-1])
        (box,) = largest_boxes(frame_map, (threshold,), protocol.boxes)
        correct = answer.predicted == answer.label
        error = classify_error(box, gt_boxes, of_label, correct, protocol.boxes.inclusive)
        other_map = frame_map
        if not correct and protocol.map_of == "label":
            other_map = place_answer(answer.predicted_map, answer, protocol)
            of_predicted = float(box_ious(other_map, gt_boxes, np.array([threshold]), protocol)[0])
        if quality is not None:
            features = predicted_features(other_map, answer, protocol, threshold)
            score = quality.score(features, answer.predicted) if features is not None else 0.0
    ratio = None
    if answer.attention is not None and annotation is not None:
        ratio = inside_outside_ratio(answer.attention, annotation.boxes_xyxy, answer.size_hw, answer.field)
    return Measures(
        row=_row(answer, of_label, of_predicted, error, score, ratio),
        gt_boxes=gt_boxes,
        single=single[: len(thresholds)],
        multi=box_ious(frame_map, gt_boxes, thresholds, protocol, multi_contour=True),
        histograms=histograms,
    )


def _check_proportions(mask: UInt8Array, answer: ImageAnswer) -> None:
    """Masks may be stored smaller or larger than their image, as those of OpenImages are, but not in another shape."""
    (mask_height, mask_width), (height, width) = mask.shape, answer.size_hw
    larger, smaller = max(mask_height * width, mask_width * height), min(mask_height * width, mask_width * height)
    if larger > (1 + _MASK_STRETCH) * smaller:
        raise DataError(
            f"{answer.sample.image_id}: mask of {mask_width}x{mask_height} for an image of {width}x{height}, expected "
            "the same proportions, is it the mask of another image, or turned on its side?"
        )


def predicted_features(
    frame_map: FloatArray, answer: ImageAnswer, protocol: Protocol, threshold: float
) -> dict[str, float] | None:
    """What is known about the box of the predicted class's map in the frame; None where there is no box."""
    found = largest_box(frame_map, threshold)
    if not len(found):
        return None
    turned = None if answer.mirrored_map is None else place_answer(answer.mirrored_map, answer, protocol)
    return box_features(frame_map, found[0], answer.prob, threshold, turned)


def measure_boxes(
    sample: Sample,
    size_hw: tuple[int, int],
    boxes: Sequence[ScoredBox],
    annotation: Annotation | None,
    protocol: Protocol,
) -> Measures:
    """Score the boxes that somebody gives for one image; without a map no threshold can be swept.

    The predicted class is that of the best-scored box, the five best classes those of the five best, and the box of a
    class its best-scored one; a class without a box misses.
    """
    ranked = sorted(boxes, key=lambda box: -box.score)
    of_class: dict[int, ScoredBox] = {}
    for box in ranked:
        of_class.setdefault(box.label, box)
    predicted = next(iter(of_class), -1)
    asked = of_class.get(sample.label if protocol.map_of == "label" else predicted)
    row = ImageRow(
        image_id=sample.image_id,
        label=sample.label,
        predicted=predicted,
        prob=ranked[0].score if ranked else 0.0,
        in_top5=sample.label in list(of_class)[:5],
    )
    gt_boxes = true_boxes(sample, size_hw, annotation, protocol)
    if gt_boxes is None:
        return Measures(row)
    placed = [_frame_box(box, size_hw, protocol) for box in (asked, of_class.get(predicted))]
    iou_label, iou_predicted = (float(protocol.boxes.iou(box, gt_boxes).max(initial=0)) for box in placed)
    error = classify_error(placed[0][0], gt_boxes, iou_label, predicted == sample.label, protocol.boxes.inclusive)
    return Measures(replace(row, iou_label=iou_label, iou_predicted=iou_predicted, error=error), gt_boxes)


def _frame_box(box: ScoredBox | None, size_hw: tuple[int, int], protocol: Protocol) -> npt.NDArray[np.float64]:
    """A given box (1, 4) in the protocol's frame, clipped to it; the corner [0, 0, 0, 0] where there is none."""
    height, width = protocol.frame_hw
    last = protocol.boxes.clip_corner
    corners = np.zeros((1, 4)) if box is None else scale_boxes(np.array([box.box_xyxy]), size_hw, protocol)
    clipped: npt.NDArray[np.float64] = np.clip(corners, 0, np.array([width - last, height - last] * 2))
    return clipped


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[Result]:
    """``map`` with threads that keeps the order and never holds more than a few items; OpenCV releases the GIL."""
    n_threads = workers or min(8, core_count())
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
    answer: ImageAnswer,
    iou_label: float | None,
    iou_predicted: float | None,
    error: ErrorKind | None = None,
    score: float | None = None,
    attention_ratio: float | None = None,
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
        score=score,
        attention_ratio=attention_ratio,
    )
