"""COCO detection files: ``images``, ``annotations`` with ``bbox`` x, y, width, height from 0, and ``categories``.

One for all images (``annotations.json``, ``coco.json``, ``instances*.json``, in the root or in ``annotations``), or one
in each split's folder (``_annotations.coco.json``, as Roboflow writes). Crowds are left out, as they outline no object;
of an object without a usable ``bbox`` the box is that of its polygons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdtr.account import Account
from cdtr.data.annotations._boxes import NamedBox, Size, check_upright, faulty_box, named_box, own_boxes
from cdtr.data.annotations._images import Images, report_unmatched, tell_predicted
from cdtr.data.files import visible_folders
from cdtr.data.written import written_names
from cdtr.errors import AnnotationError, DataError
from cdtr.json_tree import entries, identifier, load_json, numbers
from cdtr.json_tree import field as value_of
from cdtr.records import Annotation, Sample

_NAMES = ("annotations.json", "_annotations.coco.json", "coco.json", "boxes.json")


def find(images: Images) -> list[Path]:
    places = [images.root, *visible_folders(images.root)]
    found = []
    for place in places:
        ours = written_names(place)
        named = [place / name for name in _NAMES] + sorted(place.glob("instances*.json"))
        found += [path for path in named if path.is_file() and path.name not in ours]
    return found


def accepts(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def read(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    found = _Found()
    for path in paths:
        _read_file(path, images, account, found)
    where = ", ".join(map(str, paths))
    return own_boxes(found.boxes, images, where, account, found.declared, found.sizes)


@dataclass(slots=True)
class _Found:
    """What files say: boxes and sizes by image id, and the names of all categories."""

    boxes: dict[str, list[NamedBox]] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    declared: set[str] = field(default_factory=set)


def _read_file(path: Path, images: Images, account: Account, found: _Found) -> None:
    tree = _parse(path)
    names = _categories(path, tree)
    found.declared |= set(names.values())
    ids = _read_images(path, tree, images, account, found)
    for number, entry in enumerate(tree["annotations"]):
        where = f"{path}, annotations[{number}]"
        image = ids.get(_key(entry, "image_id") or "")
        if image is None:
            account.leave("annotations of no image of the file", where)
        elif image and entry.get("iscrowd"):
            account.leave("crowds", where, serious=False)
        elif image:
            tell_predicted(entry.get("score"), images, path, account, where)
            found.boxes[image].append(_box(entry, names, f"{where} ({image})"))


def _read_images(path: Path, tree: Any, images: Images, account: Account, found: _Found) -> dict[str, str]:
    """The image ids by those of the file, "" for images that the data lack; boxes and sizes of the others."""
    below = _folder_of(path, images)
    ids: dict[str, str] = {}
    unmatched: list[str] = []
    own: set[str] = set()
    fault: DataError | None = None
    for number, entry in enumerate(tree["images"]):
        where = f"{path}, images[{number}]"
        try:
            key, name = identifier(entry, "id", where), value_of(entry, "file_name", str, where)
        except DataError as error:
            fault = fault or error
            account.leave("images of the file without an id or a name", where)
            continue
        sample = images.find(name, where, below)
        ids[key] = "" if sample is None else sample.image_id
        if sample is None:
            unmatched.append(name)
            continue
        boxes = found.boxes.setdefault(sample.image_id, [])
        if sample.image_id in own:
            boxes.append(faulty_box(AnnotationError(f"{path} has {sample.image_id} twice: keep one of them")))
        own.add(sample.image_id)
        size = _size(entry)
        if size is not None:
            found.sizes[sample.image_id] = size
    if fault is not None and not ids:
        raise fault
    report_unmatched(unmatched, len(own), images, str(path), account)
    return ids


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


def _categories(path: Path, tree: dict[str, Any]) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, entry in enumerate(entries(tree, "categories", str(path)) if tree.get("categories") else ()):
        where = f"{path}, categories[{number}]"
        names[identifier(entry, "id", where)] = value_of(entry, "name", str, where)
    return names


def _key(entry: Any, name: str) -> str | None:
    try:
        return identifier(entry, name, "")
    except DataError:
        return None


def _shown(entry: Any, name: str) -> str:
    return repr(entry.get(name) if isinstance(entry, dict) else entry)[:60]


def _size(entry: dict[str, Any]) -> Size | None:
    height, width = entry.get("height"), entry.get("width")
    if isinstance(height, int | float) and isinstance(width, int | float) and 1 <= height < 1e6 and 1 <= width < 1e6:
        return round(height), round(width)
    return None


def _box(entry: dict[str, Any], names: dict[str, str], where: str) -> NamedBox:
    try:
        category = _key(entry, "category_id")
        if names and category not in names:
            raise DataError(f"{where}: category_id {_shown(entry, 'category_id')} is none of its categories")
        name = names[category] if names and category is not None else None
        check_upright(_turned(entry, where), where)
        try:
            return named_box(name, _corners(entry, where), where)
        except DataError:
            outline = list(_points(entry.get("segmentation")))
            if not outline:
                raise
            xs, ys = [x for x, _ in outline], [y for _, y in outline]
            return named_box(name, (min(xs), min(ys), max(xs), max(ys)), where)
    except DataError as error:
        return faulty_box(error)


def _corners(entry: dict[str, Any], where: str) -> tuple[float, float, float, float]:
    values = entries(entry, "bbox", where)
    if len(values) != 4 or any(isinstance(value, str) for value in values):
        raise DataError(f"{where}: bbox {values!r:.80}, expected the numbers x, y, width and height")
    x, y, width, height = numbers(values, f"{where}: bbox")
    return x, y, x + width, y + height


def _turned(entry: dict[str, Any], where: str) -> float:
    """Degrees that CVAT gives beside the box before it was turned."""
    attributes = entry.get("attributes")
    turned = attributes.get("rotation") if isinstance(attributes, dict) else None
    return numbers([turned], f"{where}: rotation")[0] if turned is not None else 0.0


def _points(segmentation: Any) -> Iterator[tuple[float, float]]:
    """The corners of polygons; none where there are other things, such as run lengths."""
    for polygon in segmentation if isinstance(segmentation, list) else ():
        try:
            values = numbers(polygon, "") if isinstance(polygon, list) else []
        except DataError:
            values = []
        yield from zip(values[0::2], values[1::2], strict=False)
