"""Evaluation protocols by name. Numbers of different protocols are not comparable, so every result names its own."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cdtr.errors import ConfigError, DataError
from cdtr.localization.maps import Interpolation
from cdtr.records import FloatArray, UInt8Array


@dataclass(frozen=True, slots=True)
class Protocol:
    """How maps and ground truth meet.

    The whole image is resized to the model's input, its map to ``map_size_hw`` and the boxes with it. Boxes are
    compared in the evaluator's inclusive convention, at ``metrics.LOC_IOU`` for Top-1, Top-5 and GT-known Loc, and at
    ``max_box_iou`` (percent) for MaxBoxAccV2.
    """

    name: str
    description: str
    map_size_hw: tuple[int, int] = (224, 224)
    interpolation: Interpolation = "bicubic"
    max_box_iou: tuple[int, ...] = (30, 50, 70)


_WSOL = Protocol(
    name="wsol",
    description="whole image resized to 224x224, bicubic map, every box, inclusive IoU (Choe et al. 2020)",
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (_WSOL,)}


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; ConfigError lists the choices."""
    if name not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {name!r}: choose one of {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[name]


def scale_corners(
    boxes_xyxy: FloatArray, size_hw: tuple[int, int], to_size_hw: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Ground-truth corners (N, 4) from pixels of ``size_hw`` to ``to_size_hw``, ``int(x * 224 / w)``; never clipped.

    The corners of our half-open records pass as they are: they are what the benchmarks' annotation files hold, and the
    evaluator reads the scaled ones as inclusive.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise DataError(f"ground-truth boxes of shape {boxes.shape}: expected (N, 4) finite pixel coordinates")
    (height, width), (to_height, to_width) = size_hw, to_size_hw
    scaled: npt.NDArray[np.float64] = boxes * np.array([to_width, to_height] * 2) / np.array([width, height] * 2)
    return scaled.astype(np.int64)


def scale_mask(mask: UInt8Array, to_size_hw: tuple[int, int]) -> UInt8Array:
    """The mask (H, W) at another size, each pixel from its nearest, so that 1, 0 and 255 stay what they are."""
    if mask.ndim != 2 or 0 in mask.shape:
        raise DataError(f"mask of shape {mask.shape}: expected (H, W) with 1 object, 0 background, 255 ignore")
    height, width = to_size_hw
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
