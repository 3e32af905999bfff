"""Localization maps in files, in the place of a network: boxes come from them by the same rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.errors import ConfigError, DataError
from cdtr.image_files.maps import load_maps
from cdtr.localization.prediction import RawPrediction, SelectClasses
from cdtr.records import FloatArray


@dataclass(frozen=True, slots=True)
class MapsModel:
    """A ``LocalizationModel`` that reads its maps from files.

    Attributes:
        class_names: the classes in the order of the logits.
        files: ``.npy`` or PNG by image id: one map (h, w), or one a class (C, h, w), of the whole image, of any range.
        logits: class scores (C,) by image id; a single map is of the most probable class.
        max_pixels: larger images are refused.
        batch_size: images localized together.
        workers: batches localized at a time.
    """

    class_names: tuple[str, ...]
    files: Mapping[str, Path]
    logits: Mapping[str, FloatArray]
    max_pixels: int
    batch_size: int = 8
    workers: int = 1

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], select: SelectClasses, mirrored: bool = False
    ) -> RawPrediction:
        """Read the maps of images by their ids.

        Raises:
            ConfigError: ``mirrored``, or several classes of an image with one map.
            DataError: a map is missing or cannot be used.
        """
        if mirrored:
            raise ConfigError("maps in files have no mirrored ones: use scores of boxes without the feature mirror")
        selection = select(np.stack([self.logits[image_id] for image_id in image_ids]))
        maps = [self._maps(image_id, row) for image_id, row in zip(image_ids, selection.classes, strict=True)]
        return RawPrediction(selection, maps, None, [None] * len(image_ids))

    def _maps(self, image_id: str, classes: npt.NDArray[np.int64]) -> FloatArray:
        """Read the maps (K, h, w) of some classes of an image."""
        path = self.files.get(image_id)
        if path is None:
            raise DataError(f"no map of {image_id}: expected a file for every image")
        content = load_maps(path, len(self.class_names))
        if content.ndim == 2 and len(classes) > 1:
            raise ConfigError(f"{path} holds one map, so there is one class to look for: leave `top_k=` out")
        selected = np.array(content[None] if content.ndim == 2 else content[classes], dtype=np.float64)
        if not np.isfinite(selected).all():
            raise DataError(f"{path} holds NaN or infinity: expected finite numbers")
        return selected
