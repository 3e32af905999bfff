"""Compare one image with its annotation: boxes, IoUs and histograms of its map. Pure functions, run by threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.evaluation.forward import ImagePrediction
from cdtr.evaluation.protocols import Protocol, place_boxes, place_map, place_mask, scale_boxes
from cdtr.localization.boxes import check_inclusive, largest_box
from cdtr.localization.quality import BoxQuality, box_features
from cdtr.localization.sweep import best_ious, largest_boxes
from cdtr.metrics import ImageRow
from cdtr.metrics.attention import inside_outside_ratio
from cdtr.metrics.loc_errors import ErrorKind, classify_error
from cdtr.metrics.pxap import pixel_histograms
from cdtr.records import Annotation, FloatArray, Sample, UInt8Array

_MASK_STRETCH = 0.05  # more would move a mask's edge by more than a few pixels of the frame

Annotate: TypeAlias = Callable[[Sample], Annotation | None]


@dataclass(frozen=True, slots=True)
class ScoredBox:
    """A box that was found elsewhere.

    Attributes:
        label: Index of its class.
        score: Any finite number; the best box has the largest.
        box_xyxy: (x0, y0, x1, y1), half-open, in pixels of the source image.
    """

    label: int
    score: float
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Measures:
    """Inputs of all metrics for one image.

    Attributes:
        row: The image's outcome at the map threshold in use.
        gt_boxes: (N, 4) true boxes in the protocol's frame; None if the image has no annotation.
        single: (T,) IoU of the largest contour's box at each threshold of the sweep; None without a map or boxes.
        multi: (T,) largest IoU of all contours' boxes; None like ``single``.
        histograms: (2, bins) scores of object and background pixels, for PxAP; None without a mask.
    """

    row: ImageRow
    gt_boxes: npt.NDArray[np.float64] | None = None
    single: npt.NDArray[np.float64] | None = None
    multi: npt.NDArray[np.float64] | None = None
    histograms: npt.NDArray[np.int64] | None = None


def score_map(prediction: ImagePrediction, protocol: Protocol) -> FloatArray:
    """Place the map that gives GT-known Loc in the protocol's frame, scaled to [0, 1]."""
    return place_prediction(
        prediction.label_map if protocol.map_of == "label" else prediction.predicted_map, prediction, protocol
    )


def place_prediction(coarse_map: FloatArray, prediction: ImagePrediction, protocol: Protocol) -> FloatArray:
    """Place one map (h, w) of a prediction in the protocol's frame, scaled to [0, 1]."""
    if prediction.as_given and protocol.crop is None and coarse_map.shape == protocol.frame_hw:
        return coarse_map
    return place_map(coarse_map, prediction.size_hw, protocol, prediction.field)


def true_boxes(
    sample: Sample, size_hw: tuple[int, int], annotation: Annotation | None, protocol: Protocol
) -> npt.NDArray[np.float64] | None:
    """Place the true boxes of an image in the protocol's frame.

    Args:
        sample: The image.
        size_hw: Height and width of the source image.
        annotation: Its annotation, if any.
        protocol: Defines the frame.

    Returns:
        (N, 4) boxes; N is 0 if a crop shows none of them. None if the image has no box.

    Raises:
        DataError: If a box is broken; the message names the image.
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
    """Compute ``best_ious`` under the protocol.

    Args:
        frame_map: (H, W) in the protocol's frame.
        gt_boxes: (N, 4) true boxes in the frame.
        thresholds: (T,) map thresholds.
        protocol: Convention of boxes and IoU.
        multi_contour: Whether the boxes of all contours count instead of the largest contour's.

    Returns:
        (T,) IoUs in [0, 1]; 0 if N = 0.
    """
    if not len(gt_boxes):
        return np.zeros(len(thresholds))
    return best_ious(frame_map, gt_boxes, thresholds, multi_contour, protocol.boxes)


def measure(
    prediction: ImagePrediction,
    annotation: Annotation | None,
    protocol: Protocol,
    thresholds: FloatArray,
    edges: npt.NDArray[np.float64],
    threshold: float | None,
    quality: BoxQuality | None = None,
) -> Measures:
    """Compare one image with its annotation.

    Args:
        prediction: Prediction for the image.
        annotation: Its annotation, if any.
        protocol: How maps and true boxes are compared.
        thresholds: (T,) map thresholds of the sweep.
        edges: Edges of the bins of PxAP's histograms.
        threshold: The map threshold in use; None if there is none.
        quality: Scores the predicted class's box at that threshold; None to leave the score out.

    Returns:
        The inputs of the metrics.

    Raises:
        DataError: If the annotation is broken; the message names the image.
    """
    gt_boxes = true_boxes(prediction.sample, prediction.size_hw, annotation, protocol)
    mask = annotation.mask if annotation is not None else None
    if gt_boxes is None and mask is None:
        return Measures(_row(prediction, None, None))
    frame_map = score_map(prediction, protocol)
    histograms = None
    if mask is not None:
        _check_proportions(mask, prediction)
        histograms = pixel_histograms(frame_map, place_mask(mask, protocol), edges)
    if gt_boxes is None:
        return Measures(_row(prediction, None, None), histograms=histograms)
    of_label = of_predicted = error = score = None
    swept = thresholds if threshold is None else np.append(thresholds, threshold)
    single = box_ious(frame_map, gt_boxes, swept, protocol)
    if threshold is not None:
        of_label = of_predicted = float(single[-1])
        (box,) = largest_boxes(frame_map, (threshold,), protocol.boxes)
        correct = prediction.predicted == prediction.label
        error = classify_error(box, gt_boxes, of_label, correct, protocol.boxes.inclusive)
        other_map = frame_map
        if not correct and protocol.map_of == "label":
            other_map = place_prediction(prediction.predicted_map, prediction, protocol)
            of_predicted = float(box_ious(other_map, gt_boxes, np.array([threshold]), protocol)[0])
        if quality is not None and prediction.gets_box:
            features = predicted_features(other_map, prediction, protocol, threshold)
            score = quality.score(features, prediction.predicted) if features is not None else 0.0
    ratio = None
    if prediction.attention is not None and annotation is not None:
        ratio = inside_outside_ratio(prediction.attention, annotation.boxes_xyxy, prediction.size_hw, prediction.field)
    return Measures(
        row=_row(prediction, of_label, of_predicted, error, score, ratio),
        gt_boxes=gt_boxes,
        single=single[: len(thresholds)],
        multi=box_ious(frame_map, gt_boxes, thresholds, protocol, multi_contour=True),
        histograms=histograms,
    )


def _check_proportions(mask: UInt8Array, prediction: ImagePrediction) -> None:
    """Refuse a mask of other proportions; other sizes are allowed, as masks of OpenImages have them."""
    (mask_height, mask_width), (height, width) = mask.shape, prediction.size_hw
    larger, smaller = max(mask_height * width, mask_width * height), min(mask_height * width, mask_width * height)
    if larger > (1 + _MASK_STRETCH) * smaller:
        raise DataError(
            f"{prediction.sample.image_id}: mask of {mask_width}x{mask_height} for an image of {width}x{height}, "
            "expected the same proportions, is it the mask of another image, or turned on its side?"
        )


def predicted_features(
    frame_map: FloatArray, prediction: ImagePrediction, protocol: Protocol, threshold: float
) -> dict[str, float] | None:
    """Compute the features by which ``BoxQuality`` scores the predicted class's box; None if there is no box."""
    found = largest_box(frame_map, threshold)
    if not len(found):
        return None
    turned = (
        None if prediction.mirrored_map is None else place_prediction(prediction.mirrored_map, prediction, protocol)
    )
    return box_features(frame_map, found[0], prediction.prob, threshold, turned)


def measure_boxes(
    sample: Sample,
    size_hw: tuple[int, int],
    boxes: Sequence[ScoredBox],
    annotation: Annotation | None,
    protocol: Protocol,
) -> Measures:
    """Compare boxes that were found elsewhere with an image's annotation.

    The predicted class is that of the best-scored box, the five most probable classes are those of the boxes in the
    order of their scores, and the box of a class is its best-scored one. A class without a box misses.

    Args:
        sample: The image.
        size_hw: Height and width of the source image.
        boxes: All boxes of the image.
        annotation: Its annotation, if any.
        protocol: How boxes are compared.

    Returns:
        The inputs of the metrics; without a map no threshold can be swept.

    Raises:
        DataError: If the annotation is broken; the message names the image.
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
    """Place a box in the protocol's frame, clipped to it, as (1, 4); the corner [0, 0, 0, 0] if there is none."""
    height, width = protocol.frame_hw
    last = protocol.boxes.clip_corner
    corners = np.zeros((1, 4)) if box is None else scale_boxes(np.array([box.box_xyxy]), size_hw, protocol)
    clipped: npt.NDArray[np.float64] = np.clip(corners, 0, np.array([width - last, height - last] * 2))
    return clipped


def _row(
    prediction: ImagePrediction,
    iou_label: float | None,
    iou_predicted: float | None,
    error: ErrorKind | None = None,
    score: float | None = None,
    attention_ratio: float | None = None,
) -> ImageRow:
    return ImageRow(
        image_id=prediction.sample.image_id,
        label=prediction.label,
        predicted=prediction.predicted,
        prob=prediction.prob,
        in_top5=prediction.in_top5,
        iou_label=iou_label,
        iou_predicted=iou_predicted,
        error=error,
        score=score,
        attention_ratio=attention_ratio,
        presence=prediction.presence,
    )
