"""CVAT XML 1.1, "for images"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from xml.etree.ElementTree import Element, SubElement, tostring

from cdtr.exports._target import Add, Target, boxes_of
from cdtr.records import Localization
from cdtr.runs import atomic_file

FILE_NAME = "cvat.xml"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """An ``image`` node an image, named by its path below the folder of the images, and in it a ``box`` node a box.

    Corners are half-open source pixels. CVAT imports no scores; ``source`` says that the boxes were made by a program.
    """
    numbers = count()
    with atomic_file(target.path) as file:

        def add(localization: Localization) -> None:
            file.write(tostring(_image(next(numbers), localization, target.class_names), encoding="utf-8") + b"\n")

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


def _image(number: int, localization: Localization, class_names: tuple[str, ...]) -> Element:
    height, width = localization.size_hw
    attributes = {"id": number, "name": localization.image_id, "width": width, "height": height}
    image = Element("image", {key: str(value) for key, value in attributes.items()})
    for box in boxes_of(localization, class_names):
        corners = {key: repr(value) for key, value in zip(("xtl", "ytl", "xbr", "ybr"), box.xyxy, strict=True)}
        SubElement(image, "box", {"label": box.name, "source": "auto", "occluded": "0", **corners, "z_order": "0"})
    return image
