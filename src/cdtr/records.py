"""Frozen records that cross layers, and the protocols that the layers above rely on.

Letters of shapes: B images, C classes, H W pixels, h w patches, L blocks, S heads, N boxes.
Boxes are half-open ``xyxy`` in source pixels; no box is an array of shape (0, 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from cdtr.account import Account

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    from torch import Tensor

FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Corners: TypeAlias = tuple[float, float, float, float]  # x0, y0, x1, y1
Field: TypeAlias = tuple[float, float, float, float]  # x0, y0, x1, y1, source pixels: what of an image a map covers


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image of a data set. It has no place for a box, so training cannot see one."""

    image_id: str
    path: Path
    label: int


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a data set knows about where the object is; read for evaluation only.

    boxes_xyxy: (N, 4) float, half-open, source pixels, N >= 0. mask: (H, W) uint8 with 1 object, 0 background,
    255 ignore, or None where the set has no masks. written_xyxy: (N, 4), the same boxes before they were clipped to
    the image, or None where nothing was clipped.
    """

    boxes_xyxy: FloatArray
    mask: UInt8Array | None = None
    written_xyxy: FloatArray | None = None


class Box(NamedTuple):
    """One box of an image: what every format of boxes is read to and written from.

    Attributes:
        name: The class; empty where a file gives none.
        xyxy: x0, y0, x1, y1, half-open, source pixels.
        key: Which of our boxes it was, where a tool that shows boxes for review keeps that.
        label: The index of the class; -1 where only the name is known.
        score: 1 for a box that somebody drew.
        fault: Why the box cannot be used, as a message. A reader that goes on after a damaged box raises it only when
            the boxes of that image are asked for.
    """

    name: str
    xyxy: Corners
    key: str | None = None
    label: int = -1
    score: float = 1.0
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class ImageBoxes:
    """The boxes of one image in a file.

    Attributes:
        names: What the image may be called, the most reliable name first.
        size_hw: Height and width, None where the file does not say them.
        boxes: In the order of the file.
        shares: The boxes are fractions of the image instead of pixels.
        bare: The names have no suffix.
    """

    names: tuple[str, ...]
    size_hw: tuple[int, int] | None
    boxes: tuple[Box, ...]
    shares: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class DataSource:
    """A data set that was found and indexed: class names, samples per split, and a reader of annotations.

    ``annotate`` answers None for an image without annotation; ``annotated`` says whether the set has any.
    ``size_hw`` knows the images' sizes where a list holds them, else None. ``accounts``: what the readers took and left
    out; that of boxes grows as they are read.
    """

    name: str
    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    annotated: bool
    annotate: Callable[[Sample], Annotation | None]
    size_hw: Callable[[Sample], tuple[int, int]] | None = None
    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the methods get it.

    images: (B, 3, H, W) float, normalised with the data config's mean and std. labels: (B,) int64.
    clean_images: the same without random erasing, or None where nothing was erased (CLIP sees these).
    sizes_hw: the source images' sizes in pixels, after EXIF rotation. fields: for each image the part of it that
    ``images`` shows, None for all of it; empty where all images are whole.
    """

    images: Tensor
    labels: Tensor
    samples: tuple[Sample, ...]
    sizes_hw: tuple[tuple[int, int], ...]
    clean_images: Tensor | None = None
    fields: tuple[Field | None, ...] = ()

    def field_of(self, index: int) -> Field | None:
        """What image ``index`` shows of its source; None for all of it."""
        return self.fields[index] if self.fields else None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What every method answers, in training and in evaluation.

    logits: (B, C), class scores of the main branch. maps: (B, C, h, w), the localization maps, not normalised (for
    CDTR ``M_fuse`` of Eq. 3). attention: (B, h, w), ``M*_ca`` of Eq. 5. aux: what else the method has, such as
    ``x_out``, ``x_csm``, ``csm_logits``, ``m_ocm``, ``x_ski``, ``ski_logits``; a training logs its single numbers
    each epoch.
    """

    logits: Tensor
    maps: Tensor
    attention: Tensor
    aux: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Localization:
    """Boxes and heat map of one image.

    boxes_xyxy: (N, 4) float32, half-open, source pixels. labels: (N,) int64 class indices. scores: (N,) float32 in
    [0, 1], the probability that the box's IoU is at least 0.5 where ``doubts`` is given, else the class probability.
    doubts: for each box what lowers its score, in words; None where the run has no calibrated scores of boxes.
    map: (H, W) float32 in [0, 1] at the source size, of the class ``map_label``. class_probs: (C,) float32.
    masks: (N, H, W) uint8, 1 where the region that a box is drawn around is, else 0; None unless asked for.
    """

    image_id: str
    size_hw: tuple[int, int]
    boxes_xyxy: FloatArray
    labels: npt.NDArray[np.int64]
    scores: FloatArray
    map: FloatArray
    map_label: int
    class_probs: FloatArray
    class_names: tuple[str, ...] = ()
    doubts: tuple[tuple[str, ...], ...] | None = None
    masks: UInt8Array | None = None

    def __repr__(self) -> str:
        """The image, its size, and each box's class and score; arrays are left out."""
        height, width = self.size_hw
        names = [self.class_names[label] if self.class_names else f"class {label}" for label in self.labels.tolist()]
        boxes = ", ".join(f"{name} {score:.2f}" for name, score in zip(names, self.scores.tolist(), strict=True))
        count = f"{len(names)} box{'' if len(names) == 1 else 'es'}"
        return f"{type(self).__name__}({self.image_id!r}, {width} x {height}, {count}{': ' + boxes if boxes else ''})"


class Method(Protocol):
    """A localization method: images in, ``ModelOutput`` out, named losses from it. Also a ``torch.nn.Module``."""

    def __call__(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        """Run on normalised images (B, 3, H, W). ``auxiliary`` adds the branches that only losses need; by default
        they run in training mode."""
        ...

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Named, unweighted scalar loss terms."""
        ...

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The total loss and the weights' parameters (the lambdas of Eq. 2) by name, for the log."""
        ...
