"""Label Studio's JSON and JSON-MIN: tasks with annotations, or with predictions as `cdtr localize` writes them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cdtr.corrections._boxes import BoxFile, ImageBoxes, NamedBox, checked_box, image_size, load_export, peek
from cdtr.errors import DataError
from cdtr.json_tree import entries, field, numbers

WRITTEN_AS = "label_studio/tasks.json"
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # Label Studio's own prefix of uploaded files
_SLACK = 0.01  # percent by which a drawn box may pass the edge


def recognises(path: Path) -> bool:
    return peek(path).startswith("[")


def read(path: Path, reviewed: bool) -> BoxFile:
    """With ``reviewed`` each task's last annotation; tasks without one, and skipped ones, are left out.

    Relations, choices and regions other than rectangles are passed over.
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
        found = _answer(task, where, unread) if reviewed else entries(task, "predictions", where)[:1]
        for answer in found:
            size, boxes = _regions(entries(answer, "result", where), where, unread)
            images.append(ImageBoxes(names, size, boxes))
    return BoxFile(tuple(images), None, unread)


def _tasks(tree: list[Any], path: str, unread: Counter[str]) -> list[Any]:
    """The tasks of JSON, or those that rows of JSON-MIN were made of: a row an annotation, of which the last counts."""
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
    """The regions of a row of JSON-MIN, which has them under the name of their control tag."""
    for regions in row.values():
        for value in regions if isinstance(regions, list) else ():
            if not isinstance(value, dict):
                continue
            if "rectanglelabels" not in value:
                unread["results that are no rectangle"] += 1
                continue
            sizes = {key: value.get(key) for key in ("original_width", "original_height")}
            yield {"type": "rectanglelabels", "value": value, **sizes}


def _answer(task: Any, where: str, unread: Counter[str]) -> list[Any]:
    """The last annotation of a task, as a list; empty if nobody has reviewed it."""
    found = entries(task, "annotations", where)
    if not all(isinstance(one, dict) for one in found):
        raise DataError(f"{where}: annotations are numbers, expected objects: export JSON with annotations")
    found = [one for one in found if not one.get("was_cancelled")]
    unread["earlier annotations of a task"] += max(len(found) - 1, 0)
    return sorted(found, key=lambda one: str(one.get("updated_at", "")))[-1:]


def _names(data: dict[str, Any]) -> Iterator[str]:
    """What the image may be called: our id, then what its address says."""
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


def _regions(
    results: list[Any], where: str, unread: Counter[str]
) -> tuple[tuple[int, int] | None, tuple[NamedBox, ...]]:
    size, boxes = None, []
    for region in results:
        kind = field(region, "type", str, where)
        if kind != "rectanglelabels":
            unread[f"results of kind {kind}"] += 1
            continue
        size = image_size(region.get("original_height"), region.get("original_width"), where)
        boxes.append(_box(region, size, where))
    return size, tuple(boxes)


def _box(region: Any, size_hw: tuple[int, int], where: str) -> NamedBox:
    value = field(region, "value", dict, where)
    labels = entries(value, "rectanglelabels", where)
    if len(labels) != 1 or not isinstance(labels[0], str):
        raise DataError(f"{where}: a box with the labels {labels!r:.60}, expected one")
    where = f"{where}, box of {labels[0]!r:.60}"
    x, y, width, height = numbers([value.get(key) for key in ("x", "y", "width", "height")], where)
    if min(x, y, width, height) < -_SLACK or max(x + width, y + height) > 100 + _SLACK:
        raise DataError(f"{where}: x {x:g}, y {y:g}, width {width:g}, height {height:g}, expected percent of the image")
    (turned,) = numbers([value.get("rotation") or 0], where)
    if turned % 360:
        raise DataError(f"{where}: turned by {turned:g} degrees, expected upright boxes")
    shares = (x, y, x + width, y + height)
    sides = (size_hw[1], size_hw[0], size_hw[1], size_hw[0])
    corners = [share / 100 * side for share, side in zip(shares, sides, strict=True)]
    key = region.get("id")
    return NamedBox(labels[0], checked_box(labels[0], corners, size_hw, where), key if isinstance(key, str) else None)
