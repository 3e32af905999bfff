"""COCO detection JSON: ``images``, ``annotations`` with a ``bbox`` x, y, width, height from 0, and ``categories``.

Beside the images of a data set lies one file for all of them (``annotations.json``, ``coco.json``,
``instances*.json``, in the root or in ``annotations``), or one in each split's folder (``_annotations.coco.json``, as
Roboflow writes). Crowds are left out, as they outline no object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cdtr.account import Account
from cdtr.errors import AnnotationError, DataError
from cdtr.formats._checks import (
    BoxFile,
    Size,
    check_upright,
    faulty_box,
    image_size,
    lenient_box,
    load_export,
    peek,
    reviewed_box,
)
from cdtr.formats._images import Images, report_unmatched, tell_predicted
from cdtr.formats._own_boxes import own_boxes
from cdtr.formats._target import Add, Target, boxes_of
from cdtr.image_files.paths import visible_folders
from cdtr.image_files.written import written_names
from cdtr.image_names import exported_names
from cdtr.json_tree import entries, field, identifier, load_json, numbers
from cdtr.records import Annotation, Box, Corners, ImageBoxes, Localization, Sample
from cdtr.runs import write_json

FILE_NAME = WRITTEN_AS = "coco.json"
_BESIDE_IMAGES = ("annotations.json", "_annotations.coco.json", "coco.json", "boxes.json")


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write ids that count from 1 and classes in the given order.

    Images without a box are listed as images. ``score``, which plain annotations lack, is the box's.
    """
    content = CocoContent(target.class_names)
    yield content.add
    write_json(target.path, content.tree())


class CocoContent:
    """A COCO file that is being written."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self._seen: set[str] = set()

    def add(self, localization: Localization, more: Sequence[dict[str, Any]] | None = None) -> None:
        """Add an image and its boxes, with ``more`` fields for each annotation; DataError for one seen before."""
        if localization.image_id in self._seen:
            raise DataError(f"image {localization.image_id} comes twice: COCO needs each file name once, rename one")
        boxes = boxes_of(localization, self.class_names)
        self._seen.add(localization.image_id)
        height, width = localization.size_hw
        image_id = len(self.images) + 1
        self.images.append({"id": image_id, "file_name": localization.image_id, "width": width, "height": height})
        for box, fields in zip(boxes, more or [{}] * len(boxes), strict=True):
            bbox = xywh(box)
            annotation = {
                "id": len(self.annotations) + 1,
                "image_id": image_id,
                "category_id": box.label + 1,
                "bbox": bbox,
                "area": bbox[2] * bbox[3],
                "score": box.score,
                "iscrowd": 0,
            }
            self.annotations.append(annotation | fields)

    def tree(self) -> dict[str, Any]:
        """Return the content of the file."""
        categories = [{"id": number, "name": name} for number, name in enumerate(self.class_names, start=1)]
        # pycocotools fails to load results into a file that has no "info".
        info = {"description": "boxes found from image-level labels"}
        return {"info": info, "images": self.images, "annotations": self.annotations, "categories": categories}


def xywh(box: Box) -> list[float]:
    """Return the ``bbox`` of COCO: x, y, width, height in source pixels."""
    x0, y0, x1, y1 = box.xyxy
    return [x0, y0, x1 - x0, y1 - y0]


def names_by_id(tree: Mapping[str, Any], section: str, key: str, path: Path, kind: Any = str) -> dict[str, str]:
    """Read the names of a section's entries, such as its categories, by their ids; empty without the section."""
    names: dict[str, str] = {}
    for number, entry in enumerate(entries(tree, section, str(path)) if tree.get(section) else ()):
        where = f"{path}, {section}[{number}]"
        names[identifier(entry, "id", where)] = str(field(entry, key, kind, where))
    return names


def recognises(path: Path) -> bool:
    """Whether a file may be COCO JSON."""
    return peek(path).startswith("{")


def read(path: Path, reviewed: bool) -> BoxFile:
    """Read reviewed boxes; an image that is listed without a box counts as one whose boxes were all deleted.

    Raises:
        DataError: The file, or any of its boxes, cannot be used.
    """
    tree = load_export(path, "COCO JSON")
    if not isinstance(tree, dict) or not {"images", "annotations", "categories"} <= set(tree):
        raise DataError(f"{path} has no images, annotations and categories: expected COCO for detection")
    entries(tree, "categories", str(path))
    names = names_by_id(tree, "categories", "name", path)
    images: dict[str, tuple[str, Size | None]] = {}
    for number, entry in enumerate(entries(tree, "images", str(path))):
        where = f"{path}, images[{number}]"
        key, name = identifier(entry, "id", where), field(entry, "file_name", str, where)
        sized = "width" in entry or "height" in entry
        images[key] = name, image_size(entry.get("height"), entry.get("width"), where) if sized else None
    boxes: dict[str, list[Box]] = {key: [] for key in images}
    unread: Counter[str] = Counter()
    for number, entry in enumerate(entries(tree, "annotations", str(path))):
        where = f"{path}, annotations[{number}]"
        key = identifier(entry, "image_id", where)
        if key not in images:
            raise DataError(f"{where}: image_id {key!r:.60} is none of its images")
        if entry.get("iscrowd"):
            unread["crowds"] += 1
            continue
        where = f"{where} ({images[key][0]})"
        name = _category(entry, names, where)
        corners = _corners(entry, where, texts=True)
        check_upright(_rotation(entry, where), f"{where}: the box of {name!r:.60}")
        boxes[key].append(reviewed_box(name, corners, images[key][1], where))
    found = tuple(
        ImageBoxes(exported_names(name) if reviewed else (name,), size, tuple(boxes[key]))
        for key, (name, size) in images.items()
    )
    return BoxFile(found, tuple(names.values()), unread)


def find(images: Images) -> list[Path]:
    """Find the COCO files of a data set where they usually lie."""
    found = []
    for place in [images.root, *visible_folders(images.root)]:
        ours = written_names(place)
        named = [place / name for name in _BESIDE_IMAGES] + sorted(place.glob("instances*.json"))
        found += [path for path in named if path.is_file() and path.name not in ours]
    return found


def accepts(path: Path) -> bool:
    """Whether a file that the user named is read as COCO."""
    return path.suffix.lower() == ".json"


def open_annotations(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    """Read the boxes of a data set; of an object without a usable ``bbox`` the box is that of its polygons."""
    found = _Found({}, {}, set())
    for path in paths:
        _read_file(path, images, account, found)
    where = ", ".join(map(str, paths))
    return own_boxes(found.boxes, images, where, account, found.declared, found.sizes)


class _Found(NamedTuple):
    """The content of files: boxes and sizes by image id, and the names of all categories."""

    boxes: dict[str, list[Box]]
    sizes: dict[str, Size]
    declared: set[str]


def _read_file(path: Path, images: Images, account: Account, found: _Found) -> None:
    tree = load_json(path, "COCO JSON")
    if not isinstance(tree, dict) or not all(isinstance(tree.get(key), list) for key in ("images", "annotations")):
        raise DataError(
            f"{path} is no COCO file: expected an object with the lists images and annotations; "
            "if it is something else, name the boxes with data.boxes, or set that to none"
        )
    names = names_by_id(tree, "categories", "name", path)
    found.declared.update(names.values())
    ids = _read_images(path, tree, images, account, found)
    for number, entry in enumerate(tree["annotations"]):
        where = f"{path}, annotations[{number}]"
        image = ids.get(_identifier(entry, "image_id") or "")
        if image is None:
            account.leave("annotations of no image of the file", where)
        elif image and entry.get("iscrowd"):
            account.leave("crowds", where, serious=False)
        elif image:
            tell_predicted(entry.get("score"), images, path, account, where)
            found.boxes[image].append(_lenient(entry, names, f"{where} ({image})"))


def _read_images(path: Path, tree: Any, images: Images, account: Account, found: _Found) -> dict[str, str]:
    """The image ids by those of the file, "" for images that the data lack; adds boxes and sizes of the others."""
    below = images.start_of_ids(path.parent)
    ids: dict[str, str] = {}
    unmatched: list[str] = []
    own: set[str] = set()
    fault: DataError | None = None
    for number, entry in enumerate(tree["images"]):
        where = f"{path}, images[{number}]"
        try:
            key, name = identifier(entry, "id", where), field(entry, "file_name", str, where)
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
        height, width = entry.get("height"), entry.get("width")
        if all(isinstance(side, int | float) and 1 <= side < 1e6 for side in (height, width)):
            found.sizes[sample.image_id] = round(height), round(width)
    if fault is not None and not ids:
        raise fault
    report_unmatched(unmatched, len(own), images, str(path), account)
    return ids


def _lenient(entry: dict[str, Any], names: dict[str, str], where: str) -> Box:
    """The box of an annotation, or a faulty one."""
    try:
        name = _category(entry, names, where) if names else ""
        check_upright(_rotation(entry, where), where)
        try:
            corners = _corners(entry, where)
        except DataError:
            outline = _outline(entry)
            if not outline:
                raise
            xs, ys = zip(*outline, strict=True)
            corners = min(xs), min(ys), max(xs), max(ys)
        return lenient_box(name, corners, where)
    except DataError as error:
        return faulty_box(error)


def _category(entry: Any, names: Mapping[str, str], where: str) -> str:
    category = _identifier(entry, "category_id")
    if category is None or category not in names:
        found = entry.get("category_id") if isinstance(entry, dict) else entry
        raise DataError(f"{where}: category_id {repr(found)[:60]} is none of its categories")
    return names[category]


def _identifier(entry: Any, name: str) -> str | None:
    try:
        return identifier(entry, name, "")
    except DataError:
        return None


def _corners(entry: Any, where: str, texts: bool = False) -> Corners:
    values = entries(entry, "bbox", where)
    if len(values) != 4 or (not texts and any(isinstance(value, str) for value in values)):
        count = "" if len(values) == 4 else f" has {len(values)} values"
        raise DataError(f"{where}: bbox {values!r:.80}{count}, expected the numbers x, y, width and height")
    x, y, width, height = numbers(values, f"{where}: bbox")
    return x, y, x + width, y + height


def _rotation(entry: Any, where: str) -> float:
    """Degrees that CVAT gives beside the box before it was turned."""
    attributes = entry.get("attributes")
    turned = attributes.get("rotation") if isinstance(attributes, dict) else None
    return numbers([turned or 0], f"{where}: rotation")[0]


def _outline(entry: Mapping[str, Any]) -> list[tuple[float, float]]:
    """The corners of an annotation's polygons; none of other outlines, such as run lengths."""
    segmentation = entry.get("segmentation")
    points: list[tuple[float, float]] = []
    for polygon in segmentation if isinstance(segmentation, list) else ():
        try:
            values = numbers(polygon, "") if isinstance(polygon, list) else []
        except DataError:
            values = []
        points += zip(values[0::2], values[1::2], strict=False)
    return points
