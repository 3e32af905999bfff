"""Boxes that come back from a review: which of our images they are of, and what the reviewers changed."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

from cdtr.corrections._compare import KINDS as KINDS
from cdtr.corrections._compare import Change as Change
from cdtr.corrections._compare import Review as Review
from cdtr.corrections._compare import Tally as Tally
from cdtr.corrections._compare import compare as compare
from cdtr.corrections._names import match_images as match_images
from cdtr.corrections._pixels import in_pixels
from cdtr.corrections._pixels import settle_corners as settle_corners
from cdtr.errors import DataError
from cdtr.formats import BoxFile, review_modules
from cdtr.formats._modules import ReviewModule

_READ = (
    "an export of Label Studio (JSON or JSON-MIN), COCO (JSON), CVAT for images (XML), a folder of YOLO or VOC, our CSV"
)


def read_reviewed(path: Path) -> BoxFile:
    """Read what came back from a review; raise DataError for a file of no known format."""
    if not path.exists():
        raise DataError(f"no file or folder {path}: expected {_READ}")
    if zipfile.is_zipfile(path):
        raise DataError(f"{path} is an archive: unpack it, and name its file, or its folder for YOLO and Pascal VOC")
    module = _format_of(path)
    if module is not None:
        return module.read(path, reviewed=True)
    raise DataError(f"{path} is of no known format: expected {_READ}")


def read_written(path: Path, reviewed: Path | None = None) -> tuple[Path, BoxFile]:
    """Read the boxes as `cdtr localize` wrote them.

    Args:
        path: The folder that it wrote, or a file in it.
        reviewed: The reviewed boxes. Of a folder the file in their format counts, as that is what the tool was given,
            else the first. What this format cannot hold, classes and sizes of images without a box, is taken from the
            first.

    Returns:
        The file that was read, and its boxes in pixels.

    Raises:
        DataError: There is no file of ours.
    """
    modules = [load() for load in review_modules().values()]
    if not path.is_dir():
        module = _format_of(path) if path.is_file() else None
        if module is None:
            raise DataError(f"{path} is neither the `out=` of `cdtr localize` nor a file of boxes from it")
        return path, _settled(module.read(path, reviewed=False), path)
    present = [module for module in modules if (path / module.WRITTEN_AS).is_file()]
    if not present:
        choices = ", ".join(module.WRITTEN_AS for module in modules)
        raise DataError(f"{path} has none of {choices}: expected the `out=` of `cdtr localize`")
    own = _format_of(reviewed) if reviewed is not None and reviewed.exists() else None
    first, chosen = present[0], own if own in present else present[0]
    file = path / chosen.WRITTEN_AS
    found = chosen.read(file, reviewed=False)
    if chosen is not first and (found.class_names is None or any(image.size_hw is None for image in found.images)):
        found = _completed(found, first.read(path / first.WRITTEN_AS, reviewed=False))
    return file, _settled(found, file)


def _settled(boxes: BoxFile, file: Path) -> BoxFile:
    """All boxes in pixels."""
    return replace(boxes, images=tuple(in_pixels(image, None, str(file)) for image in boxes.images))


def _completed(boxes: BoxFile, other: BoxFile) -> BoxFile:
    """With the classes and sizes that another file of the same images has; no box of it."""
    sizes = {image.names[0]: image.size_hw for image in other.images}
    images = (replace(image, size_hw=image.size_hw or sizes.get(image.names[0])) for image in boxes.images)
    labels = {box.name for image in boxes.images for box in image.boxes}
    classes = other.class_names if other.class_names is not None and labels <= {*other.class_names} else None
    return replace(boxes, images=tuple(images), class_names=boxes.class_names or classes)


def _format_of(path: Path) -> ReviewModule | None:
    """The format that a file looks like, if any."""
    return next((module for load in review_modules().values() if (module := load()).recognises(path)), None)
