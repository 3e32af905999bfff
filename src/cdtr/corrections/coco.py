"""COCO detection JSON: ``images``, ``annotations`` with a ``bbox``, ``categories``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cdtr.corrections._boxes import BoxFile, ImageBoxes, NamedBox, checked_box, image_size, load_export, peek
from cdtr.corrections._names import exported_names
from cdtr.data.annotations._boxes import check_upright
from cdtr.errors import DataError
from cdtr.json_tree import entries, field, identifier, numbers

WRITTEN_AS = "coco.json"


def recognises(path: Path) -> bool:
    return peek(path).startswith("{")


def read(path: Path, reviewed: bool) -> BoxFile:
    """An image that is listed without a box counts as one whose boxes were all deleted. Crowds are passed over."""
    tree = load_export(path, "COCO JSON")
    if not isinstance(tree, dict) or not {"images", "annotations", "categories"} <= set(tree):
        raise DataError(f"{path} has no images, annotations and categories: expected COCO for detection")
    names = _categories(tree, str(path))
    images: dict[str, tuple[str, tuple[int, int] | None]] = {}
    for number, entry in enumerate(entries(tree, "images", str(path))):
        where = f"{path}, images[{number}]"
        key, name = identifier(entry, "id", where), field(entry, "file_name", str, where)
        sized = "width" in entry or "height" in entry
        images[key] = name, image_size(entry.get("height"), entry.get("width"), where) if sized else None
    boxes: dict[str, list[NamedBox]] = {key: [] for key in images}
    unread: Counter[str] = Counter()
    for number, entry in enumerate(entries(tree, "annotations", str(path))):
        where = f"{path}, annotations[{number}]"
        key = identifier(entry, "image_id", where)
        if key not in images:
            raise DataError(f"{where}: image_id {key!r:.60} is none of its images")
        if entry.get("iscrowd"):
            unread["crowds"] += 1
            continue
        boxes[key].append(_box(entry, names, images[key][1], f"{where} ({images[key][0]})"))
    found = tuple(
        ImageBoxes(exported_names(name) if reviewed else (name,), size, tuple(boxes[key]))
        for key, (name, size) in images.items()
    )
    return BoxFile(found, tuple(names.values()), unread)


def _categories(tree: dict[str, Any], path: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, entry in enumerate(entries(tree, "categories", path)):
        where = f"{path}, categories[{number}]"
        names[identifier(entry, "id", where)] = field(entry, "name", str, where)
    return names


def _box(entry: Any, names: dict[str, str], size_hw: tuple[int, int] | None, where: str) -> NamedBox:
    category = identifier(entry, "category_id", where)
    if category not in names:
        raise DataError(f"{where}: category_id {category!r:.60} is none of its categories")
    values = entries(entry, "bbox", where)
    if len(values) != 4:
        raise DataError(f"{where}: bbox has {len(values)} values, expected x, y, width and height")
    x, y, width, height = numbers(values, f"{where}: bbox")
    attributes = entry.get("attributes")
    turned = attributes.get("rotation") if isinstance(attributes, dict) else None
    check_upright(numbers([turned or 0], f"{where}: rotation")[0], f"{where}: the box of {names[category]!r:.60}")
    return NamedBox(names[category], checked_box(names[category], (x, y, x + width, y + height), size_hw, where))
