"""Masks of two shades, one an image, beside it or in a folder of their own: a box around each region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from cdtr.account import Account
from cdtr.data.annotations._images import Images
from cdtr.errors import AnnotationError, DataError
from cdtr.records import Annotation, Sample, UInt8Array

_STRETCH = 0.05  # of the proportions; more would move a mask's edge by more than a few pixels
_MAX_PIXELS = 100_000_000


def find(images: Images) -> list[Path]:
    """The root, where masks were found beside the images."""
    return [images.root] if images.masks else []


def accepts(path: Path) -> bool:
    """A folder of PNG files alone."""
    return path.is_dir() and _has(path, "png") and not _has(path, "txt") and not _has(path, "xml")


def read(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    masks: dict[str, Path] = {}
    for folder in paths:
        if folder == images.root and images.masks:
            masks.update(images.masks)
        else:
            masks.update({sample.image_id: path for path, sample in images.with_files(folder, ".png", account)})
    if not masks:
        raise DataError(f"{paths[0]} has no mask for any of the {len(images.samples)} images: expected a.png for a.jpg")

    def annotate(sample: Sample) -> Annotation | None:
        path = masks.get(sample.image_id)
        if path is None:
            return None
        found = _annotation(sample, path, images.size_of(sample))
        account.take(sample.image_id, len(found.boxes_xyxy))
        return found

    return annotate


def _annotation(sample: Sample, path: Path, size_hw: tuple[int, int] | None) -> Annotation:
    mask = _read(path)
    height, width = size_hw or mask.shape
    (rows, columns) = mask.shape
    first, second = rows * width, columns * height
    if max(first, second) > (1 + _STRETCH) * min(first, second):
        raise AnnotationError(
            f"{sample.image_id}: its mask {path} has {columns} x {rows} pixels, the image {width} x {height}: expected "
            "the same proportions"
        )
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    x, y, wide, high = stats[1:, :4].T.astype(np.float64)
    boxes = np.stack([x, y, x + wide, y + high], axis=1) * ([width / columns, height / rows] * 2)
    return Annotation(boxes_xyxy=boxes.reshape(-1, 4), mask=mask)


def _read(path: Path) -> UInt8Array:
    """1 where the mask is set, else 0; AnnotationError for what has more than two shades."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise AnnotationError(f"{path}: mask of {image.width} x {image.height} pixels, too large")
            values = np.asarray(image.convert("L") if image.mode not in {"I", "I;16"} else image)
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise AnnotationError(f"{path} cannot be read as a mask ({error})") from error
    shades = np.unique(values)
    if len(shades) > 2 or (len(shades) == 2 and shades[0] != 0):
        raise AnnotationError(f"{path} has {len(shades)} shades: expected black and one other, as masks have")
    return np.asarray(values > 0, dtype=np.uint8)


def _has(folder: Path, suffix: str) -> bool:
    return next(folder.rglob(f"*.{suffix}"), None) is not None
