"""Localization maps that somebody else made, in the place of a network: boxes come from them by the same rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cdtr.errors import ConfigError, DataError
from cdtr.localization.finder import Answer, BoxFinder, Choice, check_pictures
from cdtr.records import FloatArray, Localization


@dataclass(frozen=True, slots=True)
class MapsEngine:
    """What a localizer runs in place of a network: a file of maps for each image.

    files: ``.npy`` by image id, one map (h, w), or one a class (C, h, w), of the whole image; of any range, as each is
    scaled to [0, 1]. logits: class scores (C,) by image id; the most probable class is the one of a single map.
    """

    class_names: tuple[str, ...]
    files: Mapping[str, Path]
    logits: Mapping[str, FloatArray]
    max_pixels: int
    batch_size: int = 8
    workers: int = 1

    def predictor(self, finder: BoxFinder) -> MapsPredictor:
        return MapsPredictor(self, finder)


class MapsPredictor:
    """Maps of files with the rules that turn them into boxes."""

    def __init__(self, engine: MapsEngine, finder: BoxFinder) -> None:
        self.engine = engine
        self.finder = finder

    def predict(
        self, images: Sequence[Image.Image], image_ids: Sequence[str], labels: Sequence[int] | None = None
    ) -> list[Localization]:
        """Localize RGB pictures by the maps of their ids; with ``labels``, the object of that class in each picture.

        DataError for a map that is missing or cannot be used, naming its file.
        """
        check_pictures(images, image_ids, labels)
        found = []
        for index, (image, image_id) in enumerate(zip(images, image_ids, strict=True)):
            logits = self.engine.logits[image_id][None]
            choice = self.finder.choose(logits, None if labels is None else [labels[index]])
            maps = self._maps(image_id, choice)
            answer = Answer(choice.classes[0], choice.probabilities[0], maps, None)
            found.append(self.finder.localize(image_id, (image.height, image.width), answer))
        return found

    def _maps(self, image_id: str, choice: Choice) -> FloatArray:
        """The chosen classes' maps (K, h, w)."""
        from cdtr.evaluation.predictions import load_maps

        path = self.engine.files.get(image_id)
        if path is None:
            raise DataError(f"no map of {image_id}: expected a file for every image")
        content, classes = load_maps(path, len(self.engine.class_names)), choice.classes[0]
        if content.ndim == 2 and len(classes) > 1:
            raise ConfigError(f"{path} holds one map, so there is one class to look for: leave --top-k out")
        chosen = np.array(content[None] if content.ndim == 2 else content[classes], dtype=np.float64)
        if not np.isfinite(chosen).all():
            raise DataError(f"{path} holds NaN or infinity: expected finite numbers")
        return chosen
