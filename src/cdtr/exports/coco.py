"""COCO detection JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cdtr.errors import DataError
from cdtr.records import Localization
from cdtr.runs import write_json

FILE_NAME = "coco.json"


def write_coco(localizations: Iterable[Localization], path: Path, class_names: Sequence[str]) -> None:
    """Write boxes as COCO: ``bbox`` is x, y, width, height in source pixels; ids count from 1, classes in given order.

    Images without a box are listed as images. ``score``, which plain annotations lack, is the box's.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    seen: set[str] = set()
    for image_id, localization in enumerate(localizations, start=1):
        if localization.image_id in seen:
            raise DataError(f"image {localization.image_id} comes twice: COCO needs each file name once, rename one")
        seen.add(localization.image_id)
        height, width = localization.size_hw
        images.append({"id": image_id, "file_name": localization.image_id, "width": width, "height": height})
        for category_id, bbox, score in _objects(localization, len(class_names)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "score": score,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    # pycocotools fails to load results into a file that has no "info".
    info = {"description": "boxes found from image-level labels"}
    write_json(path, {"info": info, "images": images, "annotations": annotations, "categories": categories})


def _objects(localization: Localization, n_classes: int) -> Iterable[tuple[int, list[float], float]]:
    boxes, labels, scores = (
        array.tolist() for array in (localization.boxes_xyxy, localization.labels, localization.scores)
    )
    for (x0, y0, x1, y1), label, score in zip(boxes, labels, scores, strict=True):
        if not 0 <= label < n_classes:
            raise DataError(f"{localization.image_id} has class {label}, {n_classes} class names were given")
        yield label + 1, [x0, y0, x1 - x0, y1 - y0], score
