"""FiftyOne's image detection data set: labels, and a manifest that says where the images lie."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from cdtr.formats._stems import Stems
from cdtr.formats._target import Add, Target, boxes_of
from cdtr.records import Localization
from cdtr.runs import atomic_folder

FILE_NAME = "fiftyone"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write ``labels.json`` and ``data.json``.

    ``labels.json`` has the boxes by image name, as left, top, width and height in fractions of the image, and their
    scores as ``confidence``; ``data.json`` has the path of each image by its name with suffix.
    """
    stems = Stems()
    labels: dict[str, list[dict[str, Any]]] = {}
    paths: dict[str, str] = {}

    def add(localization: Localization) -> None:
        height, width = localization.size_hw
        name = stems.name(localization.image_id)
        labels[name] = []
        for box in boxes_of(localization, target.class_names):
            x0, y0, x1, y1 = box.xyxy
            place = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
            labels[name].append({"label": box.name, "bounding_box": place, "confidence": box.score})
        root = target.images_root or PurePosixPath("data")
        path = root / localization.image_id
        paths[name + path.suffix] = path.as_posix() if target.images_root is None else os.path.abspath(path)  # noqa: PTH100

    with atomic_folder(target.path, "labels.json") as folder:
        yield add
        content = {"classes": list(target.class_names), "labels": labels}
        for name, tree in (("labels.json", content), ("data.json", paths)):
            (folder / name).write_text(json.dumps(tree, ensure_ascii=False) + "\n", encoding="utf-8")
