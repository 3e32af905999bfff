"""CVAT XML 1.1, "for images"."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from cdtr.corrections._boxes import BoxFile, ImageBoxes, NamedBox, check_size, checked_box, image_size, peek
from cdtr.errors import DataError
from cdtr.json_tree import MAX_DEPTH, numbers

WRITTEN_AS = "cvat.xml"
_SHAPES = {"polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton", "tag"}


def recognises(path: Path) -> bool:
    start = peek(path)
    return start.startswith("<") and "<annotations" in start


def read(path: Path, reviewed: bool) -> BoxFile:
    """An image without a box counts as one whose boxes were all deleted. Shapes other than boxes are passed over."""
    check_size(path)
    images: list[ImageBoxes] = []
    names: list[str] = []
    unread: Counter[str] = Counter()
    try:
        root: Any = None
        depth = 0
        for event, node in iterparse(path, events=("start", "end"), forbid_dtd=True):
            root = node if root is None else root
            depth += 1 if event == "start" else -1
            if depth > MAX_DEPTH:
                raise DataError(
                    f"{path} is nested deeper than {MAX_DEPTH} levels, so it is no CVAT XML: export it again"
                )
            if event == "start":
                continue
            if node.tag == "track":
                raise DataError(f"{path} has tracks, so it is CVAT for video: export CVAT for images 1.1")
            if node.tag == "label" and node.find("name") is not None:
                names.append(node.findtext("name") or "")
            if node.tag == "image":
                images.append(_image(node, str(path), unread))
                root.clear()  # or the tree of a large file would pile up
    except (OSError, ParseError, ValueError, DefusedXmlException) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is not safe to read"
        raise DataError(f"{path} cannot be read as CVAT XML ({reason}): export it again") from error
    return BoxFile(tuple(images), tuple(names) or None, unread)


def _image(node: Element, path: str, unread: Counter[str]) -> ImageBoxes:
    name = node.get("name")
    if not name:
        raise DataError(f"{path}: an image without a name")
    where = f"{path}, {name}"
    size = image_size(node.get("height"), node.get("width"), where)
    boxes = []
    for shape in node:
        if shape.tag in _SHAPES:
            unread[f"shapes of kind {shape.tag}"] += 1
        elif shape.tag == "box":
            boxes.append(_box(shape, size, where))
    return ImageBoxes((name,), size, tuple(boxes))


def _box(node: Element, size_hw: tuple[int, int], where: str) -> NamedBox:
    label = node.get("label") or ""
    corners = numbers([node.get(key) for key in ("xtl", "ytl", "xbr", "ybr")], f"{where}: corners")
    (turned,) = numbers([node.get("rotation", "0")], f"{where}: rotation")
    if turned % 360:
        raise DataError(f"{where}: the box of {label!r:.60} is turned by {turned:g} degrees: expected upright boxes")
    return NamedBox(label, checked_box(label, corners, size_hw, where))
