"""Localization maps: pick a class's map, resize it, scale it to [0, 1]."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from cdtr.errors import CheckpointError, DataError
from cdtr.records import Field, FloatArray, ModelOutput

if TYPE_CHECKING:  # the rest of this file serves exported models too, where PyTorch is not installed
    from torch import Tensor

    from cdtr.records import Method

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]

_CV2_INTERPOLATION: dict[str, int] = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def check_outputs(logits: Any, maps: Any) -> None:
    """CheckpointError for class scores or maps, NumPy's or PyTorch's, that are not finite.

    Broken weights make them, and scaled to [0, 1] such a map is empty: without this check the result is "no box".
    """
    for what, values in (("class scores", logits), ("maps", maps)):
        with np.errstate(all="ignore"):
            # One sum instead of a mask of the same size; it may overflow, so that the mask has the last word.
            broken = not math.isfinite(float(values.sum())) and not bool((abs(values) < math.inf).all())
        if broken:
            raise CheckpointError(
                f"the {what} are not finite: the weights, or the mean and std of their input, are broken, train again "
                "or take others"
            )


def class_maps(output: ModelOutput, labels: Tensor) -> Tensor:
    """The maps of the given classes: labels (B,) -> (B, h, w), labels (B, K) -> (B, K, h, w); not normalised."""
    n_images, n_classes = output.maps.shape[:2]
    if labels.ndim not in (1, 2) or labels.shape[0] != n_images:
        raise DataError(
            f"labels of shape {tuple(labels.shape)}: expected ({n_images},) or ({n_images}, K), one row an image"
        )
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise DataError(
            f"labels from {int(labels.min())} to {int(labels.max())}, the method has maps of {n_classes} classes: "
            "use data with the classes that it was trained on"
        )
    columns = labels.to(output.maps.device).reshape(n_images, -1, 1, 1)
    picked = output.maps.gather(1, columns.expand(-1, -1, *output.maps.shape[2:]))
    return picked if labels.ndim == 2 else picked[:, 0]


def mirrored_maps(method: Method, images: Tensor, labels: Tensor) -> Tensor:
    """The maps of the given classes, as ``class_maps``, of the mirrored images (B, 3, H, W), mirrored back."""
    return class_maps(method(images.flip(-1), auxiliary=False), labels).float().flip(-1)


def resize_map(
    score_map: FloatArray, size_hw: tuple[int, int], interpolation: Interpolation = "bilinear"
) -> FloatArray:
    """Resize (h, w) to ``size_hw`` with half-pixel centres, so that the corners of map and image coincide.

    Bicubic maps overshoot the range of their input: normalise after resizing.
    """
    if score_map.ndim != 2 or 0 in score_map.shape or min(size_hw) < 1:
        raise DataError(f"cannot resize a map of shape {score_map.shape} to {size_hw}: expected (h, w) and sizes >= 1")
    if interpolation not in _CV2_INTERPOLATION:
        raise DataError(f"unknown interpolation {interpolation!r}: choose one of {', '.join(_CV2_INTERPOLATION)}")
    height, width = size_hw
    floats = np.ascontiguousarray(_as_float(score_map))
    return _as_float(cv2.resize(floats, (width, height), interpolation=_CV2_INTERPOLATION[interpolation]))


def place_map(
    score_map: FloatArray,
    size_hw: tuple[int, int],
    field: Field | None = None,
    source_hw: tuple[int, int] | None = None,
    interpolation: Interpolation = "bilinear",
) -> FloatArray:
    """Resize a map (h, w) to an image of ``size_hw``, of which it covers ``field``; outside it has its lowest value.

    Args:
        score_map: (h, w), any range.
        size_hw: height and width of the image, as large as the result.
        field: what the map covers, in pixels of ``source_hw``; None for the whole image. Its edges are rounded to
            pixels of the result, of which it covers at least one.
        source_hw: size of the image that ``field`` is measured in; by default ``size_hw``.
        interpolation: of the map.
    """
    if field is None:
        return resize_map(score_map, size_hw, interpolation)
    (height, width), source = size_hw, source_hw or size_hw
    scale_y, scale_x = height / source[0], width / source[1]
    left, right = _pixels(field[0] * scale_x, field[2] * scale_x, width)
    top, bottom = _pixels(field[1] * scale_y, field[3] * scale_y, height)
    part = resize_map(score_map, (bottom - top, right - left), interpolation)
    placed = np.full(size_hw, part.min(), dtype=part.dtype)
    placed[top:bottom, left:right] = part
    return placed


def _pixels(start: float, end: float, size: int) -> tuple[int, int]:
    """The first pixel and the one after the last between two places along a side of ``size`` pixels; at least one."""
    first = min(max(round(start), 0), size - 1)
    return first, max(min(round(end), size), first + 1)


def normalise_maps(maps: FloatArray) -> FloatArray:
    """Min-max scale each map of (..., h, w) to [0, 1]; a map that is constant or not finite becomes zeros.

    Choe et al. 2020.
    """
    if maps.ndim < 2 or 0 in maps.shape[-2:]:
        raise DataError(f"cannot normalise maps of shape {maps.shape}: expected (..., h, w) with h and w >= 1")
    floats = _as_float(maps)
    with np.errstate(invalid="ignore", over="ignore"):
        low = floats.min(axis=(-2, -1), keepdims=True)
        span = floats.max(axis=(-2, -1), keepdims=True) - low
        usable = np.isfinite(span) & (span > 0)
        # In place: maps are as large as their images.
        scaled = floats - low
        scaled /= np.where(usable, span, 1)
    return scaled if usable.all() else np.where(usable, scaled, np.zeros((), dtype=floats.dtype))


def check_score_map(score_map: FloatArray) -> None:
    """Raise DataError unless the map is what the evaluator takes: (H, W), floating, within [0, 1], without NaN."""
    if not isinstance(score_map, np.ndarray) or score_map.ndim != 2 or 0 in score_map.shape:
        raise DataError(f"score map of shape {np.shape(score_map)}: expected one 2-D array (H, W)")
    if not np.issubdtype(score_map.dtype, np.floating):
        raise DataError(f"score map of type {score_map.dtype}: expected floating point within [0, 1]")
    low, high = float(score_map.min()), float(score_map.max())
    if np.isnan(low) or np.isnan(high):
        raise DataError("score map with NaN: expected values within [0, 1] and no NaN")
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"score map from {low} to {high}: expected values within [0, 1], scale it (`cdtr score --normalise`, "
            "normalise_maps)"
        )


def _as_float(maps: npt.NDArray[Any]) -> FloatArray:
    """float32 or float64, the types that OpenCV resizes."""
    return maps if maps.dtype in (np.float32, np.float64) else maps.astype(np.float32)
