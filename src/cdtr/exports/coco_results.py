"""COCO results: the plain list of scored boxes that COCO's evaluator takes, with the numbers of ``coco.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from cdtr.exports._lists import open_json_list
from cdtr.exports._target import Add, Target, boxes_of
from cdtr.records import Localization

FILE_NAME = "coco_results.json"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """A result a box. Images count from 1 in the order that they come, as in the file of the format coco."""
    image_id = 0
    with open_json_list(target.path) as append:

        def add(localization: Localization) -> None:
            nonlocal image_id
            image_id += 1
            for box in boxes_of(localization, target.class_names):
                x0, y0, x1, y1 = box.xyxy
                bbox = [x0, y0, x1 - x0, y1 - y0]
                result = {"image_id": image_id, "category_id": box.label + 1, "bbox": bbox, "score": box.score}
                append(json.dumps(result))

        yield add
