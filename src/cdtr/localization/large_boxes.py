"""Scores and regions of the boxes of a large image, whose map is stitched from those of its tiles."""

from __future__ import annotations

import math
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt

from cdtr.localization.boxes import component_regions
from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.localization.postprocess import SCORED_HW
from cdtr.localization.quality import BoxQuality, box_features
from cdtr.localization.tile_grid import Tiling
from cdtr.records import FloatArray, UInt8Array

_MOST_IN_MEMORY = 2**30  # bytes of the masks of an image; more lie in a file


def score_boxes(
    quality: BoxQuality,
    threshold: float,
    tiling: Tiling,
    maps: tuple[FloatArray, FloatArray | None],
    size_hw: tuple[int, int],
    found: tuple[FloatArray, npt.NDArray[np.int64], FloatArray],
) -> tuple[FloatArray, tuple[tuple[str, ...], ...]]:
    """Score boxes of a large image, each in a window around it, as large as a tile or the box.

    Args:
        quality: scores boxes of images of the scale of a tile.
        threshold: of the boxes.
        tiling: how the image was cut.
        maps: the stitched map, and that of the mirrored tiles if there is one.
        size_hw: height and width of the image.
        found: boxes (N, 4), their classes (N,), and the probabilities (N,) of these.

    Returns:
        Scores (N,) and the doubts of each box.
    """
    (score_map, mirrored), (boxes, labels, probabilities) = maps, found
    scores, doubts = [], []
    for box, label, probability in zip(boxes, labels.tolist(), probabilities.tolist(), strict=True):
        window, in_frame = _window(box, tiling.tile_hw, score_map.shape, size_hw)
        frame = normalise_maps(resize_map(score_map[window], SCORED_HW))
        turned = None if mirrored is None else normalise_maps(resize_map(mirrored[window], SCORED_HW))
        features = box_features(frame, in_frame, probability, threshold, turned)
        scores.append(quality.score(features, label))
        doubts.append(quality.doubts(features, label))
    return np.array(scores, dtype=np.float32), tuple(doubts)


def _window(
    box: FloatArray, tile_hw: tuple[int, int], map_hw: tuple[int, ...], size_hw: tuple[int, int]
) -> tuple[tuple[slice, slice], FloatArray]:
    """The part of a map around a box (4,) in pixels of the image, and the box in that part at ``SCORED_HW``."""
    slices, corners = [], np.zeros(4)
    for axis in (0, 1):
        start, end = (float(box[1 - axis + 2 * index]) for index in (0, 1))
        image, points = size_hw[axis], map_hw[axis]
        side = min(max(tile_hw[axis], end - start), image)
        first = min(max((start + end - side) / 2, 0), image - side)
        low, high = int(first / image * points), min(math.ceil((first + side) / image * points), points)
        slices.append(slice(low, high))
        for index, place in enumerate((start, end)):
            inside = (place / image * points - low) / (high - low) * SCORED_HW[axis]
            corners[1 - axis + 2 * index] = min(max(inside, 0), SCORED_HW[axis])
    return (slices[0], slices[1]), corners


def draw_masks(
    score_map: FloatArray, threshold: float, boxes: npt.NDArray[np.int64], size_hw: tuple[int, int]
) -> UInt8Array:
    """Draw the regions of boxes that were found in a map, at the size of the image.

    Only the boxes are written to. The system gives no memory to what stays 0, and above 1 GiB the masks lie in a sparse
    temporary file, which goes with the array, so that memory is that of the regions and not of N images.

    Args:
        score_map: (h, w) in [0, 1], of the whole image.
        threshold: the one that the boxes were found at.
        boxes: (N, 4) in cells of the map.
        size_hw: height H and width W of the image.

    Returns:
        (N, H, W), 1 in the region of a box, else 0.
    """
    masks = _zeros((len(boxes), *size_hw))
    for mask, region, box in zip(masks, component_regions(score_map, threshold, boxes), boxes.tolist(), strict=True):
        places, points = [], []
        for axis in (0, 1):
            scale, first = size_hw[axis] / score_map.shape[axis], box[1 - axis]
            here = np.arange(round(first * scale), round(box[3 - axis] * scale))
            places.append(here)
            points.append(((here + 0.5) / scale).astype(np.int64) - first)
        mask[np.ix_(*places)] = region[np.ix_(*points)]
    return masks


def _zeros(shape: tuple[int, int, int]) -> UInt8Array:
    if math.prod(shape) <= _MOST_IN_MEMORY:
        return np.zeros(shape, dtype=np.uint8)
    with TemporaryFile() as file:
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
