"""COCO detection files: ``images``, ``annotations`` with ``bbox`` x, y, width, height from 0, and ``categories``.

One for all images (``annotations.json``, ``coco.json``, ``instances*.json``, in the root or in ``annotations``), or one
in each split's folder (``_annotations.coco.json``, as Roboflow writes). Crowds are left out, as they outline no object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cdtr.data.annotations._images import Images, NamedBox, named_box, own_boxes, report_unmatched
from cdtr.data.files import visible_folders
from cdtr.errors import DataError
from cdtr.json_tree import entries, field, load_json, numbers
from cdtr.records import Annotation, Sample

_NAMES = ("annotations.json", "_annotations.coco.json", "coco.json", "boxes.json")


def find(images: Images) -> list[Path]:
    places = [images.root, *visible_folders(images.root)]
    named = [place / name for place in places for name in _NAMES]
    instances = [path for place in places for path in sorted(place.glob("instances*.json"))]
    return [path for path in named + instances if path.is_file()]


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def read(paths: Sequence[Path], images: Images) -> Callable[[Sample], Annotation | None]:
    boxes: dict[str, list[NamedBox]] = {}
    declared: set[str] = set()
    for path in paths:
        found, names = _read_file(path, images)
        for image_id, more in found.items():
            boxes.setdefault(image_id, []).extend(more)
        declared |= names
    return own_boxes(boxes, images, ", ".join(map(str, paths)), declared)


def _read_file(path: Path, images: Images) -> tuple[dict[str, list[NamedBox]], set[str]]:
    tree = _parse(path)
    below = _folder_of(path, images)
    ids: dict[Any, str] = {}
    unmatched: list[str] = []
    for number, entry in enumerate(tree["images"]):
        where = f"{path}, images[{number}]"
        name, key = field(entry, "file_name", str, where), field(entry, "id", (int, str), where)
        sample = images.find(name, where, below)
        if sample is None:
            unmatched.append(name)
        ids[key] = "" if sample is None else sample.image_id
    boxes: dict[str, list[NamedBox]] = {image_id: [] for image_id in ids.values() if image_id}
    report_unmatched(unmatched, len(boxes), images, str(path))
    names = _categories(path, tree)
    for number, entry in enumerate(tree["annotations"]):
        where = f"{path}, annotations[{number}]"
        image = field(entry, "image_id", (int, str), where)
        if image not in ids:
            raise DataError(f"{where}: image_id {image!r} is none of its images")
        if ids[image] and not entry.get("iscrowd"):
            boxes[ids[image]].append(_box(entry, names, where))
    return boxes, set(names.values())


def _parse(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = load_json(path, "COCO JSON")
    if not isinstance(tree, dict) or not all(isinstance(tree.get(key), list) for key in ("images", "annotations")):
        raise DataError(
            f"{path} is no COCO file: expected an object with the lists images and annotations; "
            "if it is something else, name the boxes with data.boxes, or set that to none"
        )
    return tree


def _folder_of(path: Path, images: Images) -> str:
    """The split's folder whose images the file describes, as the start of their ids."""
    folder = path.parent
    if folder == images.root or not folder.is_relative_to(images.root):
        return ""
    start = folder.relative_to(images.root).as_posix() + "/"
    return start if any(sample.image_id.startswith(start) for sample in images.samples) else ""


def _categories(path: Path, tree: dict[str, Any]) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for number, entry in enumerate(entries(tree, "categories", str(path)) if tree.get("categories") else ()):
        where = f"{path}, categories[{number}]"
        names[field(entry, "id", (int, str), where)] = field(entry, "name", str, where)
    return names


def _box(entry: dict[str, Any], names: dict[Any, str], where: str) -> NamedBox:
    values = entries(entry, "bbox", where)
    if len(values) != 4 or any(isinstance(value, str) for value in values):
        raise DataError(f"{where}: bbox {values!r:.80}, expected the numbers x, y, width and height")
    x, y, width, height = numbers(values, f"{where}: bbox")
    category = entry.get("category_id")
    if names and (not isinstance(category, int | str) or category not in names):
        raise DataError(f"{where}: category_id {category!r} is none of its categories")
    return named_box(names[category] if names else None, (x, y, x + width, y + height), where)
