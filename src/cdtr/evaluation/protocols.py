"""Evaluation protocols by name. Numbers of different protocols are not comparable, so every result names its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from cdtr.config import ViewName
from cdtr.errors import ConfigError, DataError
from cdtr.localization import maps
from cdtr.localization.boxes import REFERENCE, BoxRule, check_inclusive
from cdtr.localization.maps import Interpolation, normalise_maps
from cdtr.records import Field, FloatArray, UInt8Array

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Published:
    """A map threshold that a paper states for one method on one full data set.

    All of these thresholds were chosen on the test set.

    Attributes:
        method: Name of the method.
        classes: Number of classes of the full set; a part of it, such as 50 classes of CUB, is another set.
        threshold: In [0, 1).
        view: Part of an image that the network saw.
    """

    method: str
    classes: int
    threshold: float
    view: ViewName


@dataclass(frozen=True, slots=True)
class Protocol:
    """How maps and ground truth are compared.

    The image is resized and its central square is kept; the map and the boxes follow it into this frame.

    Attributes:
        name: Name of the protocol.
        description: One line for users.
        resize: Height and width, or the short side alone, in pixels.
        crop: Side of the central square that is kept, in pixels; None to keep everything.
        interpolation: Of the map.
        truncate: Whether scaled corners are truncated to whole pixels.
        clip: Whether true boxes end at the edge of the crop; one outside of it is dropped.
        first_box_only: Whether only the first of several true boxes counts.
        map_of: Class whose map gives the box of Top-5 and GT-known Loc.
        boxes: How a map becomes boxes, and how IoU is computed.
        published: Map thresholds of papers by the name of the data set; elsewhere the threshold is calibrated.
        max_box_iou: IoU levels of MaxBoxAccV2 in percent; other hits are counted at ``metrics.LOC_IOU``.
        view: Part of an image that the network sees; None to leave it to the run.
    """

    name: str
    description: str
    resize: tuple[int, int] | int = (224, 224)
    crop: int | None = None
    interpolation: Interpolation = "bicubic"
    truncate: bool = True
    clip: bool = False
    first_box_only: bool = False
    map_of: Literal["label", "predicted"] = "label"
    boxes: BoxRule = REFERENCE
    published: Mapping[str, Published] = dataclasses.field(default_factory=dict)
    max_box_iou: tuple[int, ...] = (30, 50, 70)
    view: ViewName | None = None

    @property
    def frame_hw(self) -> tuple[int, int]:
        """Height and width of the frame in pixels."""
        if self.crop is not None:
            return self.crop, self.crop
        if isinstance(self.resize, int):
            raise ConfigError(f"protocol {self.name}: a resize of the short side alone needs a crop")
        return self.resize

    def resized_hw(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width, before the crop, of an image of ``size_hw``."""
        if not isinstance(self.resize, int):
            return self.resize
        height, width = size_hw
        short = min(size_hw)
        return int(self.resize * height / short), int(self.resize * width / short)

    def corner(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """Top and left of the crop in the resized image, rounded as torchvision's centre crop rounds."""
        resized, frame = self.resized_hw(size_hw), self.frame_hw
        return round((resized[0] - frame[0]) / 2), round((resized[1] - frame[1]) / 2)


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="wsol",
            description="whole image resized to 224x224, bicubic map, every box, inclusive IoU (Choe et al. 2020)",
        ),
        Protocol(
            name="tscam",
            description="as wsol, bilinear map, published thresholds (TS-CAM, Gao et al. 2021)",
            interpolation="bilinear",
            published={
                "cub": Published("tscam", 200, 0.10, "whole"),
                "ilsvrc": Published("tscam", 1000, 0.12, "whole"),
            },
        ),
        Protocol(
            name="sat",
            description="256x256, centre crop 224, every box clipped, absolute threshold, largest component by pixels, "
            "whole frame when empty (SAT, Wu et al. 2023)",
            resize=(256, 256),
            crop=224,
            interpolation="bilinear",
            truncate=False,
            clip=True,
            boxes=BoxRule(threshold_of="absolute", largest_by="pixels", empty="frame", clip_corner=False),
        ),
        Protocol(
            name="cdtr",
            description="short side 256, centre crop 224, which is also what the network sees, first box only and "
            "clipped, IoU without the extra pixel, the "
            "predicted class's map for everything (CDTR's released code)",
            resize=256,
            crop=224,
            interpolation="bilinear",
            truncate=False,
            clip=True,
            first_box_only=True,
            map_of="predicted",
            boxes=BoxRule(inclusive=False, clip_corner=False),
            published={"cub": Published("cdtr", 200, 0.20, "crop"), "ilsvrc": Published("cdtr", 1000, 0.19, "crop")},
            view="crop",
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """Find a protocol by its name.

    Raises:
        ConfigError: For an unknown name; the message lists the choices.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {name!r}: choose one of {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[name]


def place_map(
    coarse_map: FloatArray, size_hw: tuple[int, int], protocol: Protocol, field: Field | None = None
) -> FloatArray:
    """Resize a map to the protocol's frame.

    Args:
        coarse_map: (h, w), any scale.
        size_hw: Height and width of the source image.
        protocol: Defines the frame and the interpolation.
        field: Part of the source image that the map covers; None for all of it.

    Returns:
        (H, W) scaled to [0, 1]; a constant map becomes zeros.
    """
    resized = maps.place_map(coarse_map, protocol.resized_hw(size_hw), field, size_hw, protocol.interpolation)
    return normalise_maps(_crop(resized, size_hw, protocol))


def place_mask(mask: UInt8Array, protocol: Protocol) -> UInt8Array:
    """Resize a mask to the protocol's frame, by nearest neighbours.

    Args:
        mask: (h, w), 1 object, 0 background, 255 ignore, of the whole source image.
        protocol: Defines the frame.

    Returns:
        (H, W) with the same values.

    Raises:
        DataError: For a mask of another shape.
    """
    if mask.ndim != 2 or 0 in mask.shape:
        raise DataError(f"mask of shape {mask.shape}: expected (H, W) with 1 object, 0 background, 255 ignore")
    size_hw = (mask.shape[0], mask.shape[1])
    height, width = protocol.resized_hw(size_hw)
    resized = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    return _crop(resized, size_hw, protocol)


def place_boxes(boxes_xyxy: FloatArray, size_hw: tuple[int, int], protocol: Protocol) -> npt.NDArray[np.float64]:
    """Scale true boxes to the protocol's frame.

    The corners are scaled as they are: benchmarks' annotation files hold half-open corners, and their evaluators read
    the scaled ones as inclusive. Negative corners are moved to 0.

    Args:
        boxes_xyxy: (N, 4), half-open, in pixels of the source image.
        size_hw: Height and width of the source image.
        protocol: Defines the frame.

    Returns:
        (M, 4) boxes; M < N if a box lies outside the crop or only the first one counts.

    Raises:
        DataError: For boxes of another shape, not finite, inverted, or outside the image.
    """
    boxes = np.asarray(boxes_xyxy, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise DataError(f"ground-truth boxes of shape {boxes.shape}: expected (N, 4) finite pixel coordinates")
    check_inclusive(boxes.clip(0))  # an inverted box must not vanish in the clipping
    outside = (boxes[:, 2:] < 0).any(axis=1)
    if outside.any():
        raise DataError(f"box {boxes[outside][0].tolist()} lies outside of its image: correct the annotation")
    boxes = boxes.clip(0)
    if protocol.first_box_only:
        boxes = boxes[:1]
    scaled = scale_boxes(boxes, size_hw, protocol)
    if not protocol.clip:
        return scaled
    frame_height, frame_width = protocol.frame_hw
    clipped: npt.NDArray[np.float64] = np.clip(scaled, 0, np.array([frame_width, frame_height] * 2))
    return clipped[(clipped[:, :2] < clipped[:, 2:]).all(axis=1)]


def scale_boxes(
    boxes_xyxy: npt.NDArray[np.float64], size_hw: tuple[int, int], protocol: Protocol
) -> npt.NDArray[np.float64]:
    """Scale and move boxes (N, 4) of a source image to the protocol's frame, without clipping."""
    (height, width), (to_height, to_width) = size_hw, protocol.resized_hw(size_hw)
    scaled: npt.NDArray[np.float64] = boxes_xyxy * np.array([to_width, to_height] * 2) / np.array([width, height] * 2)
    if protocol.truncate:
        scaled = np.trunc(scaled)
    top, left = protocol.corner(size_hw)
    scaled -= np.array([left, top] * 2)
    return scaled


def _crop(resized: npt.NDArray[Number], size_hw: tuple[int, int], protocol: Protocol) -> npt.NDArray[Number]:
    (top, left), (height, width) = protocol.corner(size_hw), protocol.frame_hw
    return resized[top : top + height, left : left + width]
