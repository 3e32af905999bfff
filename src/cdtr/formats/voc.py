"""Pascal VOC: one XML file for each image, beside it or in a folder ``Annotations`` that has the images' folders.

The boxes of the format count pixels from 1 and include the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from cdtr.account import Account
from cdtr.errors import AnnotationError, DataError
from cdtr.formats._checks import BoxFile, Size, check_size, faulty_box, image_size
from cdtr.formats._images import Images, header_size
from cdtr.formats._own_boxes import fitted, own_boxes
from cdtr.formats._stems import Stems
from cdtr.formats._target import Add, Target, boxes_of
from cdtr.formats._voc_labels import FILE, open_voc_folder
from cdtr.image_names import exported_names
from cdtr.json_tree import MAX_DEPTH
from cdtr.records import Annotation, Box, Corners, FloatArray, ImageBoxes, Localization, Sample

FILE_NAME = "voc"
WRITTEN_AS = f"{FILE_NAME}/{FILE}"
_MAX_BYTES = 20_000_000
_CORNERS = ("xmin", "ymin", "xmax", "ymax")

CornersOf: TypeAlias = Callable[[Box], Corners]


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write ``Annotations/NAME.xml``, whose ``filename`` is the image's path below the folder of the images.

    ``ImageSets/Main/default.txt`` lists the names, ``labelmap.txt`` the classes. Scores have no place in VOC. Pixels
    count from 1 and the last one is part of the box, as the format's authors have it; see ``voc_zero`` too.
    """
    with open_voc(target, voc_corners) as add:
        yield add


@contextmanager
def open_voc(target: Target, corners_of: CornersOf) -> Iterator[Add]:
    """Write with either way to count pixels: ``corners_of`` returns xmin, ymin, xmax and ymax of a box."""
    stems = Stems()
    with open_voc_folder(target, "Main") as (folder, names):

        def add(localization: Localization) -> None:
            name = stems.name(localization.image_id)
            path = folder / "Annotations" / f"{name}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            boxes = boxes_of(localization, target.class_names)
            tree = ElementTree.ElementTree(_written(localization, boxes, corners_of))
            ElementTree.indent(tree)
            tree.write(path, encoding="utf-8")
            names.append(name)

        (folder / "Annotations").mkdir()
        yield add


def _written(localization: Localization, boxes: list[Box], corners_of: CornersOf) -> Element:
    root = Element("annotation")
    parent = PurePosixPath(localization.image_id).parent.as_posix()
    SubElement(root, "folder").text = "" if parent == "." else parent
    SubElement(root, "filename").text = localization.image_id
    size = SubElement(root, "size")
    height, width = localization.size_hw
    for key, value in (("width", width), ("height", height), ("depth", 3)):
        SubElement(size, key).text = str(value)
    SubElement(root, "segmented").text = "0"
    for box in boxes:
        node = SubElement(root, "object")
        SubElement(node, "name").text = box.name
        SubElement(node, "pose").text = "Unspecified"
        for key in ("truncated", "difficult"):
            SubElement(node, key).text = "0"
        bounds = SubElement(node, "bndbox")
        for key, corner in zip(_CORNERS, corners_of(box), strict=True):
            SubElement(bounds, key).text = f"{corner:.10g}"
    return root


def voc_corners(box: Box) -> tuple[int, int, int, int]:
    """Return the first and the last pixel of a half-open box from 1, whole as many tools read no other numbers."""
    x0, y0, x1, y1 = (round(value) for value in box.xyxy)
    return x0 + 1, y0 + 1, max(x1, x0 + 1), max(y1, y0 + 1)


class VocObject(NamedTuple):
    """A named box as the file has it: VOC counts pixels from 1 and includes xmax and ymax."""

    name: str
    xmin: float
    ymin: float
    xmax: float
    ymax: float
    difficult: bool = False


class _File(NamedTuple):
    """The content of a VOC file; ``size_hw`` is None where it says none or zeros."""

    objects: list[VocObject]
    size_hw: Size | None
    root: Element


def read_voc(path: Path) -> list[VocObject]:
    """Return the objects of a VOC file in its order.

    Raises:
        DataError: It is no such file, or has a box without an inside.
    """
    return _parse(path).objects


def voc_to_half_open(objects: Sequence[VocObject]) -> FloatArray:
    """Return (N, 4) half-open boxes from pixels counted from 1: (xmin - 1, ymin - 1, xmax, ymax)."""
    boxes = [(o.xmin - 1, o.ymin - 1, o.xmax, o.ymax) for o in objects]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def recognises(path: Path) -> bool:
    """Whether a file is our list of classes, or a folder has any XML."""
    if path.is_file():
        return path.name == FILE and path.parent.name != "voc_zero"
    return _has_xml(path)


def read(path: Path, reviewed: bool) -> BoxFile:
    """Read reviewed boxes; an image whose file has no object counts as one whose boxes were all deleted.

    The format's authors count pixels from 1, and some tools from 0: boxes are returned as if counted from 1, and
    reviewed ones are marked as such, to be compared with ours.

    Raises:
        DataError: Any of the files, or of their boxes, cannot be used.
    """
    root = path.parent if path.is_file() else path
    images = []
    for file in sorted(root.rglob("*.xml")):
        check_size(file)
        found = _parse(file)
        told = (found.root.findtext("filename") or "").strip()
        names = tuple(_names(told, file, root)) if reviewed else (told or file.stem,)
        height, width = (found.root.findtext(f"size/{key}") for key in ("height", "width"))
        size = None if {height, width} <= {None, "", "0"} else image_size(height, width, str(file))
        images.append(ImageBoxes(names, size, tuple(_boxes(found.objects))))
    return BoxFile(tuple(images), None, {}, one_based=reviewed)


def find(images: Images) -> list[Path]:
    """Return the root of a data set if XML of an image lies below it."""
    return [images.root] if next(images.with_files(images.root, ".xml"), None) is not None else []


def accepts(path: Path) -> bool:
    """Whether a folder that the user named is read as VOC."""
    return path.is_dir() and _has_xml(path)


def open_annotations(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    """Read the boxes of a data set."""
    boxes: dict[str, list[Box]] = {}
    sizes: dict[str, Size] = {}
    for folder in paths:
        for path, sample in images.with_files(folder, ".xml", account):
            try:
                found = _parse(path)
            except DataError as error:
                boxes[sample.image_id] = [faulty_box(error)]
                continue
            if found.size_hw is not None:
                sizes[sample.image_id] = found.size_hw
            boxes[sample.image_id] = _counted(found.objects, sample, account)
    where = ", ".join(map(str, paths))
    if not boxes:
        raise DataError(f"{where} has no XML for any of the {len(images.samples)} images: expected a.xml for a.jpg")
    return own_boxes(boxes, images, where, account, sizes=sizes)


def read_own(path: Path, sample: Sample, class_name: str, account: Account, difficult: bool = True) -> Annotation:
    """Read the boxes of an image's own class from its file; scaled, clipped and counted as in ``open_annotations``.

    Args:
        path: The VOC file.
        sample: The image.
        class_name: Its class.
        account: Counts what is taken and left out.
        difficult: Whether objects that are marked as difficult count.

    Raises:
        AnnotationError: The file cannot be used.
    """
    try:
        found = _parse(path)
    except DataError as error:
        raise AnnotationError(str(error)) from error
    own = [one for one in found.objects if one.name == class_name and (difficult or not one.difficult)]
    annotation = fitted(
        _counted(own, sample, account), header_size(sample.path), found.size_hw, sample.image_id, account
    )
    account.take(sample.image_id, len(own))
    return annotation


def _has_xml(folder: Path) -> bool:
    return next(folder.rglob("*.xml"), None) is not None


def _names(told: str, file: Path, root: Path) -> Iterator[str]:
    """Yield what the image may be called: the file's whole path, the path of the XML with its suffix, its base name."""
    told = told.replace("\\", "/")
    if "/" in told:
        yield from exported_names(told)
    path = file.relative_to(root).with_suffix("").as_posix()
    yield from exported_names(path + PurePosixPath(told).suffix)
    if told:
        yield from exported_names(told)


def _boxes(objects: Sequence[VocObject]) -> list[Box]:
    corners = voc_to_half_open(objects).tolist()
    return [Box(one.name, (x0, y0, x1, y1)) for one, (x0, y0, x1, y1) in zip(objects, corners, strict=True)]


def _counted(objects: Sequence[VocObject], sample: Sample, account: Account) -> list[Box]:
    if any(min(one.xmin, one.ymin) == 0 for one in objects):
        account.remark("images with boxes from pixel 0, where Pascal VOC counts from 1", sample.image_id)
    return _boxes(objects)


class _SafeTreeBuilder(ElementTree.TreeBuilder):
    """Refuses document types, without which no entity can be expanded, and deep trees."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: Any, attrs: Any, /) -> Element:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, pubid: str, system: str) -> None:
        raise ValueError("it declares a document type, which is refused")


def _parse(path: Path) -> _File:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes, too many for the boxes of one image")
        root = ElementTree.fromstring(path.read_bytes(), ElementTree.XMLParser(target=_SafeTreeBuilder()))
        return _File([_object(node) for node in root.iter("object")], _size(root), root)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} cannot be read as Pascal VOC: {error}") from error


def _size(root: Element) -> Size | None:
    """The height and width in a file; None where a tool did not know them and wrote 0, or nothing."""
    try:
        height, width = (int(root.findtext(f"size/{key}") or 0) for key in ("height", "width"))
    except ValueError:
        return None
    return (height, width) if min(height, width) >= 1 else None


def _object(node: Element) -> VocObject:
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
