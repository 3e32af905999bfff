"""The targets of a box regressor: masks of one box an image, from the first run's maps or from true boxes."""

from __future__ import annotations

import numpy as np
import torch

from cdtr.localization.boxes import largest_box
from cdtr.localization.maps import normalise_maps, resize_map
from cdtr.records import Annotation, FloatArray

_FRAME_HW = (224, 224)  # in which the box of a map is found, as in evaluation
_CELLS_HW = (56, 56)  # of a mask


def box_target(values: FloatArray, threshold: float) -> FloatArray:
    """Draw the box that a map (h, w) in [0, 1] gives at a threshold, (56, 56) in [0, 1]; zeros where it gives none."""
    found = largest_box(normalise_maps(resize_map(values, _FRAME_HW)), threshold)
    return filled(found.astype(np.float64), _FRAME_HW, _CELLS_HW)


def true_box_target(annotation: Annotation, size_hw: tuple[int, int]) -> FloatArray:
    """Draw the largest true box of an image of ``size_hw`` pixels, (56, 56) in [0, 1]."""
    boxes = np.asarray(annotation.boxes_xyxy, dtype=np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return filled(boxes[areas.argmax()][None], size_hw, _CELLS_HW)


def no_box_target() -> FloatArray:
    """The target of an image without an object, which teaches a box regressor nothing."""
    return np.zeros(_CELLS_HW)


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
