"""Pascal VOC files in a folder, an XML an image, as Label Studio, CVAT and `cdtr localize` write them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from cdtr.corrections._boxes import BoxFile, ImageBoxes, NamedBox, check_size, image_size
from cdtr.corrections._names import exported_names
from cdtr.data.annotations.voc import read_voc, voc_to_half_open
from cdtr.errors import DataError

WRITTEN_AS = "voc/labelmap.txt"


def recognises(path: Path) -> bool:
    if path.is_file():
        return path.name == "labelmap.txt" and path.parent.name != "voc_zero"
    return next(path.rglob("*.xml"), None) is not None


def read(path: Path, reviewed: bool) -> BoxFile:
    """An image whose file has no object counts as one whose boxes were all deleted.

    The format's authors count pixels from 1, and some tools from 0: boxes are answered as if counted from 1, and
    reviewed ones are marked as such, to be compared with ours.
    """
    root = path.parent if path.is_file() else path
    images = [_image(file, root, reviewed) for file in sorted(root.rglob("*.xml"))]
    return BoxFile(tuple(images), None, {}, one_based=reviewed)


def _image(file: Path, root: Path, reviewed: bool) -> ImageBoxes:
    check_size(file)
    objects = read_voc(file)
    corners = voc_to_half_open(objects).tolist()
    boxes = tuple(NamedBox(one.name, (x0, y0, x1, y1)) for one, (x0, y0, x1, y1) in zip(objects, corners, strict=True))
    try:
        node = parse(file, forbid_dtd=True).getroot()
    except (OSError, ParseError, ValueError, DefusedXmlException) as error:
        raise DataError(f"{file} cannot be read as Pascal VOC ({error!r:.80}): export it again") from error
    names = _names(node, file, root) if reviewed else [(node.findtext("filename") or "").strip() or file.stem]
    return ImageBoxes(tuple(names), _size(node, file), boxes)


def _names(node: Element, file: Path, root: Path) -> Iterator[str]:
    """What the image may be called: the file's whole path, the path of the XML with its suffix, its base name."""
    told = (node.findtext("filename") or "").strip().replace("\\", "/")
    if "/" in told:
        yield from exported_names(told)
    path = file.relative_to(root).with_suffix("").as_posix()
    yield from exported_names(path + PurePosixPath(told).suffix)
    if told:
        yield from exported_names(told)


def _size(node: Element, file: Path) -> tuple[int, int] | None:
    """Height and width; None where the file leaves them out, or has zeros for them."""
    height, width = (node.findtext(f"size/{key}") for key in ("height", "width"))
    return None if {height, width} <= {None, "", "0"} else image_size(height, width, str(file))
