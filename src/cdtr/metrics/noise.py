"""Base noise and novel noise of the paper's section III-A: attention on other known classes, and on unknown things."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from cdtr.errors import DataError
from cdtr.metrics.attention import covered_shares
from cdtr.records import Field, FloatArray

# base: another class is recognised there; novel: no class is; own: the image's class is.
NoiseKind: TypeAlias = Literal["base", "novel", "own"]
NOISE_KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)

RECOGNISED = 0.5  # a class is recognised where it is more probable than all others together


def noise_regions(class_maps: FloatArray, label: int) -> npt.NDArray[np.int64]:
    """Find what a trained method recognises at each patch.

    The paper defines the noise in words: base noise "arises from the model's prior knowledge of currently irrelevant
    classes", novel noise lies on "background clusters that are completely outside the scope of the model's prior
    knowledge". Here the knowledge is the trained class head, applied at each patch: with p the softmax of the class
    maps over the classes, a class is recognised where its p is above ``RECOGNISED``, so that at most one class is. A
    low largest p as the sign of something unknown is the baseline of Hendrycks and Gimpel (ICLR 2017).

    Args:
        class_maps: (C, h, w), class scores at each patch, not normalised: ``X_out``, whose mean over the patches is the
            method's logits. C >= 2; with two classes one of them is nearly always recognised.
        label: The image's class.

    Returns:
        (h, w) indices into ``NOISE_KINDS``: 0 (base) where a class other than the label is recognised, 1 (novel) where
        none is, 2 (own) where the label is.

    Raises:
        DataError: For class maps of another shape, without two classes, or without the label's.
    """
    if class_maps.ndim != 3 or not 0 <= label < len(class_maps) or len(class_maps) < 2:
        raise DataError(
            f"class maps of shape {class_maps.shape} for class {label}: expected (C, h, w) with at least two classes, "
            "the label's among them"
        )
    powers = np.exp(class_maps - class_maps.max(axis=0, keepdims=True))
    best, largest = class_maps.argmax(axis=0), 1 / powers.sum(axis=0)
    base, novel, own = range(len(NOISE_KINDS))
    found: npt.NDArray[np.int64] = np.where(largest > RECOGNISED, np.where(best == label, own, base), novel)
    return found


def split_outside(
    attention: FloatArray,
    regions: npt.NDArray[np.int64],
    boxes_xyxy: npt.ArrayLike,
    size_hw: tuple[int, int],
    field: Field | None = None,
) -> dict[NoiseKind, float] | None:
    """Split the attention outside the true boxes by what is recognised there.

    Args:
        attention: (h, w), >= 0; ones to split the area instead.
        regions: (h, w), from ``noise_regions``.
        boxes_xyxy: (N, 4), half-open, pixels of an image of ``size_hw``; a patch counts by the share of it that the
            boxes leave free.
        size_hw: Height and width of the image.
        field: The part of the image that the attention covers; None for all of it.

    Returns:
        Shares of all attention, in [0, 1], by kind; their sum is ``outside_shares``. None where that is None.

    Raises:
        DataError: For regions of another shape than the attention's.
    """
    if regions.shape != attention.shape:
        raise DataError(f"regions of {regions.shape} for attention of {attention.shape}: expected the same patches")
    covered, total = covered_shares(attention, boxes_xyxy, size_hw, field), float(attention.sum())
    if covered is None or not total > 0:
        return None
    outside = attention * (1 - covered)
    return {kind: float(outside[regions == index].sum()) / total for index, kind in enumerate(NOISE_KINDS)}
