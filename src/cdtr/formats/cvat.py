"""CVAT XML 1.1, "for images"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, SubElement, tostring

from cdtr.errors import DataError
from cdtr.formats._checks import BoxFile, Size, check_size, check_upright, image_size, peek, reviewed_box
from cdtr.formats._target import Add, Target, boxes_of
from cdtr.json_tree import MAX_DEPTH, numbers
from cdtr.records import Box, ImageBoxes, Localization
from cdtr.runs import atomic_file

FILE_NAME = WRITTEN_AS = "cvat.xml"
_SHAPES = {"polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton", "tag"}


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write an ``image`` node for each image, named by its path below the folder of the images.

    It has a ``box`` node for each box, with half-open corners in source pixels. CVAT imports no scores; ``source`` says
    that a program made the boxes.
    """
    numbers = count()
    with atomic_file(target.path) as file:

        def add(localization: Localization) -> None:
            file.write(tostring(_written(next(numbers), localization, target.class_names), encoding="utf-8") + b"\n")

        # Node by node, as a tree of all images would not fit the memory.
        file.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        file.write(tostring(_meta(target.class_names), encoding="utf-8") + b"\n")
        yield add
        file.write(b"</annotations>\n")


def _meta(class_names: tuple[str, ...]) -> Element:
    meta = Element("meta")
    labels = SubElement(SubElement(meta, "task"), "labels")
    for name in class_names:
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        SubElement(label, "attributes")
    return meta


def _written(number: int, localization: Localization, class_names: tuple[str, ...]) -> Element:
    height, width = localization.size_hw
    attributes = {"id": number, "name": localization.image_id, "width": width, "height": height}
    image = Element("image", {key: str(value) for key, value in attributes.items()})
    for box in boxes_of(localization, class_names):
        corners = {key: repr(value) for key, value in zip(("xtl", "ytl", "xbr", "ybr"), box.xyxy, strict=True)}
        SubElement(image, "box", {"label": box.name, "source": "auto", "occluded": "0", **corners, "z_order": "0"})
    return image


def recognises(path: Path) -> bool:
    """Whether a file may be CVAT XML."""
    start = peek(path)
    return start.startswith("<") and "<annotations" in start


def read(path: Path, reviewed: bool) -> BoxFile:
    """Read reviewed boxes; an image without a box counts as one whose boxes were all deleted.

    Shapes other than boxes are passed over.

    Raises:
        DataError: The file, or any of its boxes, cannot be used.
    """
    from defusedxml import DefusedXmlException  # not needed to write, which a small installation does
    from defusedxml.ElementTree import iterparse

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


def _box(node: Element, size_hw: Size, where: str) -> Box:
    label = node.get("label") or ""
    corners = numbers([node.get(key) for key in ("xtl", "ytl", "xbr", "ybr")], f"{where}: corners")
    (turned,) = numbers([node.get("rotation", "0")], f"{where}: rotation")
    check_upright(turned, f"{where}: the box of {label!r:.60}")
    return reviewed_box(label, corners, size_hw, where)
