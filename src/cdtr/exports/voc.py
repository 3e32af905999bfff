"""Pascal VOC: an XML file of boxes for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from cdtr.exports._stems import Stems
from cdtr.exports._target import Add, Box, Target, boxes_of
from cdtr.exports._voc_labels import FILE, check_label_names, write_label_map
from cdtr.records import Localization
from cdtr.runs import atomic_folder

FILE_NAME = "voc"

CornersOf: TypeAlias = Callable[[Box], tuple[float, float, float, float]]


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """``Annotations/NAME.xml``, whose ``filename`` is the image's path below the folder of the images.

    ``ImageSets/Main/default.txt`` lists the names, ``labelmap.txt`` the classes. Scores have no place in VOC. Pixels
    count from 1 and the last one is part of the box, as the format's authors have it; see ``voc_zero`` too.
    """
    with open_voc(target, voc_corners) as add:
        yield add


@contextmanager
def open_voc(target: Target, corners_of: CornersOf) -> Iterator[Add]:
    """The writer for either way to count pixels: ``corners_of`` answers xmin, ymin, xmax and ymax of a box."""
    check_label_names(target.class_names)
    stems, names = Stems(), []
    with atomic_folder(target.path, FILE) as folder:

        def add(localization: Localization) -> None:
            name = stems.name(localization.image_id)
            path = folder / "Annotations" / f"{name}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            tree = ElementTree.ElementTree(
                _annotation(localization, boxes_of(localization, target.class_names), corners_of)
            )
            ElementTree.indent(tree)
            tree.write(path, encoding="utf-8")
            names.append(name)

        (folder / "Annotations").mkdir()
        yield add
        (folder / "ImageSets" / "Main").mkdir(parents=True)
        listed = "".join(f"{name}\n" for name in names)
        (folder / "ImageSets" / "Main" / "default.txt").write_text(listed, encoding="utf-8")
        write_label_map(folder, target.class_names)


def _annotation(localization: Localization, boxes: list[Box], corners_of: CornersOf) -> Element:
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
        for key, corner in zip(("xmin", "ymin", "xmax", "ymax"), corners_of(box), strict=True):
            SubElement(bounds, key).text = f"{corner:.10g}"
    return root


def voc_corners(box: Box) -> tuple[int, int, int, int]:
    """The first and the last pixel of a half-open box, counted from 1: whole numbers, as many tools read no others."""
    x0, y0, x1, y1 = (round(value) for value in box.xyxy)
    return x0 + 1, y0 + 1, max(x1, x0 + 1), max(y1, y0 + 1)
