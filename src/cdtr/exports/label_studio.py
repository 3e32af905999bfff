"""Label Studio tasks with predictions, and the labelling configuration that they belong to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from cdtr.exports._lists import open_json_list
from cdtr.exports._target import Add, Target, boxes_of
from cdtr.records import Localization
from cdtr.runs import atomic_folder

FILE_NAME = "label_studio"
TASKS, CONFIG = "tasks.json", "labeling_config.xml"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """``tasks.json``, a task an image with its boxes as a prediction, and ``labeling_config.xml``.

    Corners are percent of the image. ``image`` is the address under which Label Studio serves a local file whose folder
    is below its document root; ``image_id``, which comes back with an export, is the image's path below its folder. The
    region ``box-1`` is the first box of its image, and so on.
    """
    with atomic_folder(target.path, TASKS) as folder:
        write_config(folder / CONFIG, target.class_names)
        with open_json_list(folder / TASKS) as append:
            yield lambda localization: append(json.dumps(_task(localization, target), ensure_ascii=False))


def write_config(path: Path, class_names: tuple[str, ...]) -> None:
    view = Element("View")
    SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
    labels = SubElement(view, "RectangleLabels", {"name": "label", "toName": "image"})
    for name in class_names:
        SubElement(labels, "Label", {"value": name})
    tree = ElementTree.ElementTree(view)
    ElementTree.indent(tree)
    tree.write(path, encoding="utf-8")


def _task(localization: Localization, target: Target) -> dict[str, Any]:
    height, width = localization.size_hw
    regions, scores = [], [0.0]
    for number, box in enumerate(boxes_of(localization, target.class_names), start=1):
        x0, y0, x1, y1 = box.xyxy
        place = {
            "x": 100 * x0 / width,
            "y": 100 * y0 / height,
            "width": 100 * (x1 - x0) / width,
            "height": 100 * (y1 - y0) / height,
        }
        regions.append(
            {
                "id": f"box-{number}",
                "type": "rectanglelabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": box.score,
                "value": {**place, "rotation": 0, "rectanglelabels": [box.name]},
            }
        )
        scores.append(box.score)
    prediction = {"model_version": target.source, "score": max(scores), "result": regions}
    data = {"image": _address(localization.image_id, target.images_root), "image_id": localization.image_id}
    return {"data": data, "predictions": [prediction]}


def _address(image_id: str, images_root: Path | None) -> str:
    folder = "" if images_root is None else Path(os.path.abspath(images_root)).name  # noqa: PTH100, keeps links
    return "/data/local-files/?d=" + quote(f"{folder}/{image_id}".lstrip("/"))
