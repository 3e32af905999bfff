"""From images to localizations in two steps: a model predicts maps, a post-processor turns them into boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.errors import DataError
from cdtr.records import Field, FloatArray, Localization

if TYPE_CHECKING:
    from cdtr.localization.postprocess import MapPostProcessor


@dataclass(frozen=True, slots=True)
class ClassSelection:
    """The classes whose maps are searched.

    Attributes:
        classes: (B, K) class indices, the most probable first.
        probabilities: (B, C) of all classes.
        boxed: (B, K), whether boxes are searched in the map of each class; None where they are in all of them.
        object_probs: (B,), the probability of an object; None where every class has one.
    """

    classes: npt.NDArray[np.int64]
    probabilities: FloatArray
    boxed: npt.NDArray[np.bool_] | None = None
    object_probs: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class RawPrediction:
    """What a model predicts for a batch of images, before post-processing.

    Attributes:
        selection: the classes that the maps are of.
        maps: for each image (K, h, w), the maps of its selected classes, not normalised.
        mirrored: the same for the mirrored images, mirrored back; None where they were not asked for.
        fields: for each image the part of it that its maps cover; None for all of it.
    """

    selection: ClassSelection
    maps: Sequence[FloatArray]
    mirrored: Sequence[FloatArray] | None
    fields: Sequence[Field | None]


SelectClasses: TypeAlias = Callable[[FloatArray], ClassSelection]  # from logits (B, C)


class LocalizationModel(Protocol):
    """A network with its image transform, in PyTorch or in ONNX Runtime.

    Attributes:
        class_names: the classes in the order of the logits.
        max_pixels: larger images are refused.
        batch_size: images in one forward pass where the caller does not say.
        workers: forward passes that run at a time.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        ...

    @property
    def max_pixels(self) -> int:
        """Largest number of pixels of an image that is accepted."""
        ...

    @property
    def batch_size(self) -> int:
        """Images in one forward pass unless the caller says otherwise."""
        ...

    @property
    def workers(self) -> int:
        """Forward passes that run at a time."""
        ...

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], select: SelectClasses, mirrored: bool = False
    ) -> RawPrediction:
        """Predict the maps of RGB images, at least one.

        Args:
            images: B images of any size.
            image_ids: their ids.
            select: chooses the classes whose maps are returned.
            mirrored: whether the maps of the mirrored images are returned as well.
        """
        ...


def localize_batch(
    model: LocalizationModel,
    processor: MapPostProcessor,
    images: Sequence[Image.Image],
    image_ids: Sequence[str],
    labels: Sequence[int] | None = None,
) -> list[Localization]:
    """Localize RGB images in one forward pass.

    Args:
        model: predicts the maps.
        processor: turns them into boxes.
        images: B images of any size; B may be 0.
        image_ids: their ids.
        labels: B classes to look for; by default those that the processor's options say.

    Raises:
        DataError: an image is not RGB, or there are not as many ids or labels as images.
    """
    check_images(images, image_ids, labels)
    if not images:
        return []
    select = partial(processor.select_classes, labels=labels)
    prediction = model.predict(images, image_ids, select, processor.needs_mirrored)
    return processor.process(prediction, image_ids, [(image.height, image.width) for image in images])


def check_images(images: Sequence[Image.Image], image_ids: Sequence[str], labels: Sequence[int] | None = None) -> None:
    """Raise DataError unless the images are RGB and each has an id, and a label if there are any."""
    if len(images) != len(image_ids) or (labels is not None and len(labels) != len(images)):
        raise DataError(
            f"{len(images)} images, {len(image_ids)} image ids, "
            f"{'no' if labels is None else len(labels)} labels: expected one of each an image"
        )
    for image in images:
        if image.mode != "RGB":
            raise DataError(f"image of mode {image.mode}: expected RGB, convert it with image.convert('RGB')")
