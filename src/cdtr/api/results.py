"""The result of a localizer for one image, with conversions for other libraries."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.api.input_images import ImageLike, open_image
from cdtr.errors import CdtrError, ConfigError
from cdtr.records import Localization
from cdtr.reports.notebook import MOST_IMAGES, html_image, html_more, html_text

if TYPE_CHECKING:
    import pandas
    import supervision


@dataclass(frozen=True, slots=True, repr=False)
class LocalizedImage(Localization):
    """A ``Localization`` that knows its image. source: what the localizer was given, opened again where it is drawn."""

    source: ImageLike | None = None

    @classmethod
    def of(cls, localization: Localization, source: ImageLike) -> LocalizedImage:
        """The same localization, with its image."""
        values = {one.name: getattr(localization, one.name) for one in fields(Localization)}
        return cls(**values, source=source)

    def plot(self, ground_truth_xyxy: npt.ArrayLike | None = None) -> Image.Image:
        """The image under its heat map with boxes, classes and scores; true boxes (N, 4) red and dashed, if given.

        An RGB image of the same size, which notebooks display. DataError where the image's file can no longer be read,
        or has another size.
        """
        from cdtr.reports.overlays import overlay

        if self.source is None:
            raise ConfigError(f"{self.image_id} has no image: draw a result of the localizer itself")
        height, width = self.size_hw
        return overlay(open_image(self.source, height * width), self, ground_truth_xyxy)

    def _repr_png_(self) -> bytes | None:
        """The PNG file that notebooks show; None where the image can no longer be read."""
        try:
            drawn = self.plot()
        except CdtrError:
            return None
        buffer = BytesIO()
        drawn.save(buffer, "PNG")
        return buffer.getvalue()

    def to_coco(self) -> list[dict[str, Any]]:
        """A result of COCO's evaluator for each box: ``bbox`` is x, y, width, height in source pixels.

        ``category_id`` counts classes from 1, as the export format coco does; ``image_id`` is this image's name, to be
        replaced by the number that your COCO file gives it.
        """
        return [
            {
                "image_id": self.image_id,
                "category_id": int(label) + 1,
                "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
                "score": float(score),
            }
            for (x0, y0, x1, y1), label, score in zip(self.boxes_xyxy, self.labels, self.scores, strict=True)
        ]

    def to_supervision(self) -> supervision.Detections:
        """``supervision.Detections``, with ``class_name`` in its data, and masks where they were asked for."""
        module: Any = _import("supervision")
        names = np.array([self.class_names[label] if self.class_names else str(label) for label in self.labels], str)
        found: supervision.Detections = module.Detections(
            xyxy=np.asarray(self.boxes_xyxy, dtype=np.float32).reshape(-1, 4),
            confidence=np.asarray(self.scores, dtype=np.float32),
            class_id=np.asarray(self.labels, dtype=int),
            mask=None if self.masks is None else self.masks.astype(bool),
            data={"class_name": names},
        )
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """A row a box: image_id, label, class_name, score, and the corners x0, y0, x1, y1, half-open, in source pixels.

        Rows of several images: ``pandas.concat([found.to_pandas() for found in results])``.
        """
        module: Any = _import("pandas")
        boxes = np.asarray(self.boxes_xyxy, dtype=float).reshape(-1, 4)
        columns = {
            "image_id": [self.image_id] * len(boxes),
            "label": np.asarray(self.labels, dtype=int),
            "class_name": [self.class_names[label] if self.class_names else str(label) for label in self.labels],
            "score": np.asarray(self.scores, dtype=float),
        }
        corners = dict(zip(("x0", "y0", "x1", "y1"), boxes.T, strict=True))
        frame: pandas.DataFrame = module.DataFrame(columns | corners)
        return frame


class LocalizedImages(list[LocalizedImage]):
    """The results of a localizer: a list, which notebooks show as images."""

    def _repr_html_(self) -> str:
        return "".join(map(_as_html, self[:MOST_IMAGES])) + html_more(len(self) - MOST_IMAGES)


def _as_html(found: LocalizedImage) -> str:
    """The image with heat map and boxes, or only the text where the image can no longer be read."""
    try:
        return html_image(found.plot(), repr(found))
    except CdtrError:
        return f"<p>{html_text(repr(found))}</p>"


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"this needs {name}, which is not installed: pip install {name}") from error
