"""Label Studio: tasks with predictions and the labelling configuration; JSON and JSON-MIN with annotations."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from cdtr.errors import DataError
from cdtr.formats._checks import BoxFile, Size, check_upright, image_size, load_export, peek, reviewed_box
from cdtr.formats._lists import open_json_list
from cdtr.formats._target import Add, Target, boxes_of
from cdtr.json_tree import entries, field, numbers
from cdtr.records import Box, ImageBoxes, Localization
from cdtr.runs import atomic_folder

FILE_NAME = "label_studio"
TASKS, CONFIG = "tasks.json", "labeling_config.xml"
WRITTEN_AS = f"{FILE_NAME}/{TASKS}"
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # Label Studio's own prefix of uploaded files
_SLACK_PERCENT = 0.01  # by which a drawn box may pass the edge


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write ``tasks.json``, a task for each image with its boxes as a prediction, and ``labeling_config.xml``.

    Corners are percent of the image. ``image`` is the address under which Label Studio serves a local file whose folder
    is below its document root; ``image_id``, which comes back with an export, is the image's path below its folder. The
    region ``box-1`` is the first box of its image, and so on.
    """
    with atomic_folder(target.path, TASKS) as folder:
        write_config(folder / CONFIG, target.class_names)
        with open_json_list(folder / TASKS) as append:
            yield lambda localization: append(json.dumps(_task(localization, target), ensure_ascii=False))


def write_config(path: Path, class_names: tuple[str, ...]) -> None:
    """Write the labelling configuration of the classes."""
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
    # Label Studio shows tasks of low scores first.
    regions, scores = [], [1 - (localization.object_prob or 0.0) if localization.empty else 0.0]
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


def recognises(path: Path) -> bool:
    """Whether a file may be a list of tasks."""
    return peek(path).startswith("[")


def read(path: Path, reviewed: bool) -> BoxFile:
    """Read the last annotation of each task if ``reviewed``, else its prediction.

    Tasks without an annotation, and skipped ones, are left out. Relations, choices and regions other than rectangles
    are passed over.

    Raises:
        DataError: The file, or any of its boxes, cannot be used.
    """
    tree = load_export(path, "Label Studio JSON")
    if not isinstance(tree, list):
        raise DataError(f"{path} is no list of tasks: expected an export of Label Studio as JSON")
    images = []
    unread: Counter[str] = Counter()
    for number, task in enumerate(_tasks(tree, str(path), unread)):
        data = field(task, "data", dict, f"{path}, task {number} (neither JSON nor JSON-MIN of tasks)")
        names = tuple(_names(data))
        if not names:
            raise DataError(f"{path}, task {number}: data has neither image nor image_id")
        where = f"{path}, task {number} ({names[0]})"
        found = _annotation(task, where, unread) if reviewed else entries(task, "predictions", where)[:1]
        for annotation in found:
            size, boxes = _regions(entries(annotation, "result", where), where, unread)
            images.append(ImageBoxes(names, size, boxes))
    return BoxFile(tuple(images), None, unread)


def _tasks(tree: list[Any], path: str, unread: Counter[str]) -> list[Any]:
    """The tasks of JSON, or of JSON-MIN, which has a row for each annotation: the last one of a task counts."""
    if not tree or not all(isinstance(row, dict) and "annotation_id" in row and "data" not in row for row in tree):
        return tree
    last: dict[Any, dict[str, Any]] = {}
    for number, row in enumerate(tree):
        key = field(row, "id", (int, str), f"{path}, row {number}")
        if key in last:
            unread["earlier annotations of a task"] += 1
        if key not in last or str(row.get("updated_at", "")) >= str(last[key].get("updated_at", "")):
            last[key] = row
    return [{"data": row, "annotations": [{"result": list(_results(row, unread))}]} for row in last.values()]


def _results(row: dict[str, Any], unread: Counter[str]) -> Iterator[dict[str, Any]]:
    """Yield the regions of a row of JSON-MIN, which has them under the name of their control tag."""
    for regions in row.values():
        for value in regions if isinstance(regions, list) else ():
            if not isinstance(value, dict):
                continue
            if "rectanglelabels" not in value:
                unread["results that are no rectangle"] += 1
                continue
            sizes = {key: value.get(key) for key in ("original_width", "original_height")}
            yield {"type": "rectanglelabels", "value": value, **sizes}


def _annotation(task: Any, where: str, unread: Counter[str]) -> list[Any]:
    """The last annotation of a task, as a list; empty if nobody has reviewed it."""
    found = entries(task, "annotations", where)
    if not all(isinstance(one, dict) for one in found):
        raise DataError(f"{where}: annotations are numbers, expected objects: export JSON with annotations")
    found = [one for one in found if not one.get("was_cancelled")]
    unread["earlier annotations of a task"] += max(len(found) - 1, 0)
    return sorted(found, key=lambda one: str(one.get("updated_at", "")))[-1:]


def _names(data: dict[str, Any]) -> Iterator[str]:
    """Yield what the image may be called: our id, then the path in its address."""
    if isinstance(data.get("image_id"), str):
        yield data["image_id"]
    address = data.get("image")
    if not isinstance(address, str):
        return
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    path = local[0] if local else unquote(parts.path)
    folder, _, base = path.rpartition("/")
    yield path.lstrip("/")
    if _UPLOADED.match(base) and "upload" in folder.split("/"):
        yield _UPLOADED.sub("", base)


def _regions(results: list[Any], where: str, unread: Counter[str]) -> tuple[Size | None, tuple[Box, ...]]:
    size, boxes = None, []
    for region in results:
        kind = field(region, "type", str, where)
        if kind != "rectanglelabels":
            unread[f"results of kind {kind}"] += 1
            continue
        size = image_size(region.get("original_height"), region.get("original_width"), where)
        boxes.append(_box(region, size, where))
    return size, tuple(boxes)


def _box(region: Any, size_hw: Size, where: str) -> Box:
    value = field(region, "value", dict, where)
    labels = entries(value, "rectanglelabels", where)
    if len(labels) != 1 or not isinstance(labels[0], str):
        raise DataError(f"{where}: a box with the labels {labels!r:.60}, expected one")
    where = f"{where}, box of {labels[0]!r:.60}"
    x, y, width, height = numbers([value.get(key) for key in ("x", "y", "width", "height")], where)
    if min(x, y, width, height) < -_SLACK_PERCENT or max(x + width, y + height) > 100 + _SLACK_PERCENT:
        raise DataError(f"{where}: x {x:g}, y {y:g}, width {width:g}, height {height:g}, expected percent of the image")
    (turned,) = numbers([value.get("rotation") or 0], where)
    check_upright(turned, where)
    shares = (x, y, x + width, y + height)
    sides = (size_hw[1], size_hw[0], size_hw[1], size_hw[0])
    corners = [share / 100 * side for share, side in zip(shares, sides, strict=True)]
    key = region.get("id")
    return reviewed_box(labels[0], corners, size_hw, where, key if isinstance(key, str) else None)
