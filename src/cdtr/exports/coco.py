"""COCO detection JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cdtr.errors import DataError
from cdtr.exports._target import Add, Target, boxes_of
from cdtr.records import Localization
from cdtr.runs import write_json

FILE_NAME = "coco.json"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Boxes as COCO: ``bbox`` is x, y, width, height in source pixels; ids count from 1, classes in given order.

    Images without a box are listed as images. ``score``, which plain annotations lack, is the box's.
    """
    content = CocoContent(target.class_names)
    yield content.add
    write_json(target.path, content.tree())


class CocoContent:
    """A COCO file as it grows."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self._seen: set[str] = set()

    def add(self, localization: Localization, more: Sequence[dict[str, Any]] | None = None) -> None:
        """Add an image and its boxes, with ``more`` fields of each box's annotation; DataError for one seen before."""
        if localization.image_id in self._seen:
            raise DataError(f"image {localization.image_id} comes twice: COCO needs each file name once, rename one")
        boxes = boxes_of(localization, self.class_names)
        self._seen.add(localization.image_id)
        height, width = localization.size_hw
        image_id = len(self.images) + 1
        self.images.append({"id": image_id, "file_name": localization.image_id, "width": width, "height": height})
        for box, fields in zip(boxes, more or [{}] * len(boxes), strict=True):
            (x0, y0, x1, y1), number = box.xyxy, len(self.annotations) + 1
            annotation = {
                "id": number,
                "image_id": image_id,
                "category_id": box.label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "score": box.score,
                "iscrowd": 0,
            }
            self.annotations.append(annotation | fields)

    def tree(self) -> dict[str, Any]:
        categories = [{"id": number, "name": name} for number, name in enumerate(self.class_names, start=1)]
        # pycocotools fails to load results into a file that has no "info".
        info = {"description": "boxes found from image-level labels"}
        return {"info": info, "images": self.images, "annotations": self.annotations, "categories": categories}
