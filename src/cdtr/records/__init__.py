"""Frozen records that cross layers, and ``Method``, the base class of localization methods (``method.py``).

Letters of shapes: B images, C classes, H W pixels, h w patches, L blocks, S heads, N boxes.
Boxes are half-open ``xyxy`` in source pixels; no box is an array of shape (0, 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cdtr.account import Account

if TYPE_CHECKING:  # exported models run where PyTorch is not installed
    from torch import Tensor

    from cdtr.records.method import Method as Method

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
    """The boxes or the mask of an image; read for evaluation only.

    Attributes:
        boxes_xyxy: (N, 4) float, half-open, source pixels, N >= 0.
        mask: (H, W) uint8, 1 object, 0 background, 255 ignore; None if the set has no masks.
        written_xyxy: (N, 4), the boxes before they were clipped to the image; None if none was clipped.
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


@dataclass(frozen=True, slots=True, repr=False)
class DataSource:
    """A data set that was found and indexed: class names, samples per split, and a reader of annotations.

    Attributes:
        name: Its format.
        root: Its folder.
        class_names: In the order of the labels.
        splits: The samples by split.
        annotated: Whether the set has annotations.
        annotate: Returns the annotation of an image; None for an image without one.
        size_hw: Returns the size of an image from a list; None if no list has the sizes.
        accounts: What was read and left out, of images and of boxes; the latter grows while boxes are read.
    """

    name: str
    root: Path
    class_names: tuple[str, ...]
    splits: Mapping[str, tuple[Sample, ...]]
    annotated: bool
    annotate: Callable[[Sample], Annotation | None]
    size_hw: Callable[[Sample], tuple[int, int]] | None = None
    accounts: tuple[Account, ...] = ()

    def __repr__(self) -> str:
        """The folder, its format, and the numbers of classes and images, in place of every sample."""
        sizes = ", ".join(f"{len(samples)} {split}" for split, samples in self.splits.items())
        return f"DataSource({self.root}: {self.name}, {len(self.class_names)} classes, {sizes or 'no'} images)"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of images for a method.

    Attributes:
        images: (B, 3, H, W) float, normalised with the mean and standard deviation of the data's settings.
        labels: (B,) int64.
        samples: The B samples.
        sizes_hw: Sizes of the source images in pixels, after EXIF rotation.
        clean_images: The images without random erasing, for CLIP; None if nothing was erased.
        fields: The part of each image that ``images`` shows, None for all of it; empty if all images are whole.
        mirrored: Whether each image was mirrored, where ``data.augment`` is ``flip``; else empty.
        levels: Feature maps of a frozen CNN that were kept, (B, C_i, h_i, w_i); empty where none are. ``images`` may
            then be without pixels, (B, 3, 0, 0).
        prior: (B, H, W) in [0, 1], maps of another tool as the images are cropped and flipped; None without such maps.
        weights: (B,) float, of the images in the losses that learn their labels (``train.balance: weights``), with a
            mean of 1 over the training images; None if all weigh the same.
        has_object: (B,) booleans, False for images of ``data.empty_classes``; None if every class has an object.
    """

    images: Tensor
    labels: Tensor
    samples: tuple[Sample, ...]
    sizes_hw: tuple[tuple[int, int], ...]
    clean_images: Tensor | None = None
    fields: tuple[Field | None, ...] = ()
    mirrored: tuple[bool, ...] = ()
    levels: tuple[Tensor, ...] = ()
    prior: Tensor | None = None
    weights: Tensor | None = None
    has_object: Tensor | None = None

    def field_of(self, index: int) -> Field | None:
        """Return the part of the source that an image of the batch shows; None for all of it."""
        return self.fields[index] if self.fields else None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """Output of every method, in training and in evaluation.

    Attributes:
        logits: (B, C), class scores of the main branch.
        maps: (B, C, h, w), the localization maps, of any sign and scale; for CDTR ``M_fuse`` of Eq. 3.
        attention: (B, h, w), ``M*_ca`` of Eq. 5.
        aux: The method's other outputs by name, such as ``x_out``, ``x_csm``, ``csm_logits``, ``m_ocm``, ``x_ski`` and
            ``ski_logits``. Training logs its scalars each epoch.
    """

    logits: Tensor
    maps: Tensor
    attention: Tensor
    aux: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class Localization:
    """Boxes and heat map of one image.

    Attributes:
        image_id: The name of the image.
        size_hw: Height and width of the source in pixels.
        boxes_xyxy: (N, 4) float32, half-open, source pixels.
        labels: (N,) int64, class indices.
        scores: (N,) float32 in [0, 1]: the probability that the box's IoU is at least 0.5 if ``doubts`` is given, else
            the class probability, times the mean of the map in the box's region where every region has a box.
        map: (H, W) float32 in [0, 1] at the source size, of the class ``map_label``. Of an image that was cut into
            tiles it is coarser, and shows the most probable class of each place.
        map_label: Class index of the map.
        class_probs: (C,) float32.
        class_names: In the order of the class indices.
        doubts: For each box the reasons for a low score; None if the run has no calibrated scores of boxes.
        masks: (N, H, W) uint8, 1 in the region of a box, else 0; None unless asked for.
        object_prob: Probability that the image has an object; None if every class has one (``data.empty_classes``).
        empty: Whether there is no box because the image is of a class without an object, which is ``map_label``.
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
    object_prob: float | None = None
    empty: bool = False

    def __repr__(self) -> str:
        """The image, its size, and each box's class and score, or the class without an object; no arrays."""
        height, width = self.size_hw
        if self.empty:
            name = self.class_names[self.map_label] if self.class_names else f"class {self.map_label}"
            return f"{type(self).__name__}({self.image_id!r}, {width} x {height}, no object: {name})"
        names = [self.class_names[label] if self.class_names else f"class {label}" for label in self.labels.tolist()]
        boxes = ", ".join(f"{name} {score:.2f}" for name, score in zip(names, self.scores.tolist(), strict=True))
        count = f"{len(names)} box{'' if len(names) == 1 else 'es'}"
        return f"{type(self).__name__}({self.image_id!r}, {width} x {height}, {count}{': ' + boxes if boxes else ''})"


def __getattr__(name: str) -> Any:
    """Import ``Method`` when it is asked for, so that the records work without PyTorch."""
    if name != "Method":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cdtr.records.method import Method

    return Method
