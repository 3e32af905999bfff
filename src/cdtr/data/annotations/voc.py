"""Pascal VOC files, one XML an image, beside it or in a folder ``Annotations`` that has the images' folders.

The boxes of the format count pixels from 1 and include the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from cdtr.account import Account
from cdtr.data.annotations._boxes import NamedBox, Size, faulty_box, fitted, own_boxes
from cdtr.data.annotations._images import Images
from cdtr.data.images import read_size
from cdtr.errors import AnnotationError, DataError
from cdtr.json_tree import MAX_DEPTH
from cdtr.records import Annotation, FloatArray, Sample

_MAX_BYTES = 20_000_000
_MAX_PIXELS = 2**31  # only headers are read
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """A named box as the file has it: VOC counts pixels from 1 and includes xmax and ymax."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False


def find(images: Images) -> list[Path]:
    """The root, where XML of an image lies below it."""
    return [images.root] if next(images.with_files(images.root, ".xml"), None) is not None else []


def accepts(path: Path) -> bool:
    return path.is_dir() and next(path.rglob("*.xml"), None) is not None


def read(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    boxes: dict[str, list[NamedBox]] = {}
    sizes: dict[str, Size] = {}
    for folder in paths:
        for path, sample in images.with_files(folder, ".xml", account):
            try:
                objects, size = read_voc_file(path)
            except DataError as error:
                boxes[sample.image_id] = [faulty_box(error)]
                continue
            if size is not None:
                sizes[sample.image_id] = size
            boxes[sample.image_id] = _named(objects, sample, account)
    where = ", ".join(map(str, paths))
    if not boxes:
        raise DataError(f"{where} has no XML for any of the {len(images.samples)} images: expected a.xml for a.jpg")
    return own_boxes(boxes, images, where, account, sizes=sizes)


def read_own(path: Path, sample: Sample, class_name: str, account: Account, difficult: bool = True) -> Annotation:
    """The boxes of an image's own class from its file, as ``read`` answers them: scaled, clipped and counted alike.

    difficult: whether objects that are marked so count. AnnotationError for a file that cannot be used.
    """
    try:
        objects, declared_hw = read_voc_file(path)
    except DataError as error:
        raise AnnotationError(str(error)) from error
    try:
        size_hw = read_size(sample.path, _MAX_PIXELS)
    except DataError:  # such an image is not scored
        size_hw = None
    own = [one for one in objects if one.name == class_name and (difficult or not one.difficult)]
    annotation = fitted(_named(own, sample, account), size_hw, declared_hw, sample.image_id, account)
    account.take(sample.image_id, len(own))
    return annotation


def _named(objects: Sequence[VocObject], sample: Sample, account: Account) -> list[NamedBox]:
    if any(min(one.xmin, one.ymin) == 0 for one in objects):
        account.remark("images with boxes from pixel 0, where Pascal VOC counts from 1", sample.image_id)
    corners = voc_to_half_open(objects).tolist()
    return [
        NamedBox(one.name or None, (x0, y0, x1, y1)) for one, (x0, y0, x1, y1) in zip(objects, corners, strict=True)
    ]


class _Refusing(ElementTree.TreeBuilder):
    """Entities need a document type, and no VOC file has one: without it none can be expanded. Nor is one deep."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: Any, attrs: Any, /) -> ElementTree.Element:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, pubid: str, system: str) -> None:
        raise ValueError("it declares a document type, which is refused")


def read_voc(path: Path) -> list[VocObject]:
    """The objects of a VOC file in its order; DataError if it is no such file or has a box without an inside."""
    return read_voc_file(path)[0]


def read_voc_file(path: Path) -> tuple[list[VocObject], Size | None]:
    """``read_voc``, and the image's height and width where the file says them."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes, too many for the boxes of one image")
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_Refusing()))
        return [_object(node) for node in root.iter("object")], _size(root)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} cannot be read as Pascal VOC: {error}") from error


def voc_to_half_open(objects: Sequence[VocObject]) -> FloatArray:
    """(N, 4) half-open boxes from pixels counted from 1: (xmin - 1, ymin - 1, xmax, ymax)."""
    boxes = [(o.xmin - 1, o.ymin - 1, o.xmax, o.ymax) for o in objects]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _size(root: ElementTree.Element) -> Size | None:
    """Tools that do not know it write 0, or nothing."""
    try:
        height, width = (int(root.findtext(f"size/{key}") or 0) for key in ("height", "width"))
    except ValueError:
        return None
    return (height, width) if min(height, width) >= 1 else None


def _object(node: ElementTree.Element) -> VocObject:
    name = (node.findtext("name") or "").strip()
    texts = [node.findtext(f"bndbox/{key}") for key in _CORNERS]
    try:
        xmin, ymin, xmax, ymax = (float(text or "") for text in texts)
    except ValueError:
        raise ValueError(f"object {name!r:.60} has the box {texts!s:.160}, expected four numbers") from None
    # Written so that a NaN fails it too.
    if not (-np.inf < xmin <= xmax < np.inf and -np.inf < ymin <= ymax < np.inf):
        raise ValueError(f"object {name!r:.60} has the box {texts!s:.160}, expected xmin <= xmax and ymin <= ymax")
    return VocObject(name, xmin, ymin, xmax, ymax, (node.findtext("difficult") or "").strip() == "1")
