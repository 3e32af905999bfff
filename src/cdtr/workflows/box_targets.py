"""The targets of a box regressor: masks of one box an image, from the first run's maps or from true boxes."""

from __future__ import annotations

import numpy as np
import torch

from cdtr.localization.boxes import largest_box
from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.records import Annotation, FloatArray

_FRAME_HW = (224, 224)  # in which the box of a map is found, as in evaluation
_CELLS_HW = (56, 56)  # of a mask


def box_target(
    values: FloatArray, threshold: float, true: Annotation | None, size_hw: tuple[int, int], is_empty: bool
) -> FloatArray:
    """Draw the box that a regressor is to learn for an image.

    Args:
        values: (h, w) in [0, 1], the first run's map.
        threshold: of the map.
        true: true boxes, of which the largest counts; None for the box that the map gives.
        size_hw: height and width of the image in pixels.
        is_empty: whether the image has no object, which teaches nothing unless it has a true box.

    Returns:
        (56, 56) in [0, 1]: the share of each cell that lies in the box; zeros where there is none.
    """
    if true is not None:
        boxes = np.asarray(true.boxes_xyxy, dtype=np.float64)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        return filled(boxes[areas.argmax()][None], size_hw, _CELLS_HW)
    if is_empty:
        return np.zeros(_CELLS_HW)
    found = largest_box(normalise_maps(resize_map(values, _FRAME_HW)), threshold)
    return filled(found.astype(np.float64), _FRAME_HW, _CELLS_HW)


def filled(boxes_xyxy: FloatArray, size_hw: tuple[int, int], cells_hw: tuple[int, int]) -> FloatArray:
    """Compute the share of each cell that lies in a box.

    Args:
        boxes_xyxy: (N, 4), pixels of an image of ``size_hw``.
        size_hw: height and width of the image.
        cells_hw: rows and columns of the result.

    Returns:
        (h, w) in [0, 1]. Boxes in every cell leave one corner out, as a training scales maps from their minimum: theirs
        would say nothing.
    """
    height, width = size_hw
    mask = np.zeros((height, width), dtype=np.float32)
    for x0, y0, x1, y1 in np.rint(boxes_xyxy).astype(int):
        mask[max(0, y0) : y1, max(0, x0) : x1] = 1
    cells = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(mask)[None], cells_hw)
    found: FloatArray = cells[0].numpy().astype(np.float64)
    if found.min() > 0:
        found[0, 0] = 0
    return found
