"""Map, found box and true boxes of an image in the protocol's frame, to draw what was scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from cdtr.evaluation.forward import ImagePrediction, predict
from cdtr.evaluation.measure import Annotate, measure, score_map, true_boxes
from cdtr.evaluation.protocols import Protocol
from cdtr.localization.sweep import largest_boxes
from cdtr.metrics import ImageRow
from cdtr.records import Annotation, Batch, FloatArray, Method, Sample


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """One image under a protocol at a map threshold.

    Attributes:
        sample: The image.
        row: Its outcome.
        size_hw: Height and width of the source image.
        map: (H, W) in [0, 1], the map that gives GT-known Loc.
        found_xyxy: (N, 4) found box, half-open, in pixels of the map; N is 0 or 1.
        true_xyxy: (N, 4) true boxes, half-open, in pixels of the map.
    """

    sample: Sample
    row: ImageRow
    size_hw: tuple[int, int]
    map: FloatArray
    found_xyxy: FloatArray
    true_xyxy: FloatArray


def scored_images(
    method: Method,
    batches: Iterable[Batch],
    annotate: Annotate,
    protocol: Protocol,
    threshold: float,
    device: torch.device | str = "cpu",
) -> Iterator[ScoredImage]:
    """Run the method over the batches and score each image as an evaluation does.

    Args:
        method: Run in evaluation mode.
        batches: Of an evaluation loader.
        annotate: Reads an image's true boxes.
        protocol: Its frame, boxes and IoU.
        threshold: The map threshold in use.
        device: Where the method runs.

    Yields:
        The images in the order of the batches.
    """
    for prediction in predict(method, batches, device):
        yield _score(prediction, annotate(prediction.sample), protocol, threshold)


def _score(
    prediction: ImagePrediction, annotation: Annotation | None, protocol: Protocol, threshold: float
) -> ScoredImage:
    at = np.array([threshold])
    measures = measure(prediction, annotation, protocol, at, np.linspace(0, 1, 3), threshold)
    frame_map = score_map(prediction, protocol)
    found = _half_open(largest_boxes(frame_map, at, protocol.boxes), protocol)
    truth = true_boxes(prediction.sample, prediction.size_hw, annotation, protocol)
    return ScoredImage(
        sample=prediction.sample,
        row=measures.row,
        size_hw=prediction.size_hw,
        map=frame_map,
        found_xyxy=found[(found[:, :2] + 1 < found[:, 2:]).all(axis=1)],
        true_xyxy=np.zeros((0, 4)) if truth is None else _half_open(truth, protocol),
    )


def _half_open(boxes: npt.NDArray[np.generic], protocol: Protocol) -> npt.NDArray[np.float64]:
    """Convert boxes (N, 4) of the protocol, which may be inclusive, to half-open ones."""
    last = 1.0 if protocol.boxes.inclusive else 0.0
    moved: npt.NDArray[np.float64] = np.asarray(boxes, dtype=np.float64) + np.array([0, 0, last, last])
    return moved
