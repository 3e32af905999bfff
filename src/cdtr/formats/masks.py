"""Masks of the boxes' regions as PNG: written in Pascal VOC's layout for segmentation, read in two shades.

Of a data set a mask lies beside its image or in a folder of masks; a box is drawn around each connected region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.account import Account
from cdtr.errors import AnnotationError, DataError
from cdtr.formats._checks import same_proportions
from cdtr.formats._images import Images
from cdtr.formats._stems import Stems
from cdtr.formats._target import Add, Target, boxes_of, masks_of
from cdtr.formats._voc_labels import open_voc_folder, voc_colour
from cdtr.records import Annotation, Localization, Sample, UInt8Array

FILE_NAME = "masks"
NEEDS_MASKS = True
_PALETTE = 256
_MAX_PIXELS = 100_000_000


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write ``SegmentationClass/NAME.png`` and ``SegmentationObject/NAME.png``.

    0 is background, other values are the class counted from 1, or the number of the box; where regions overlap, those
    of the box with the higher score.

    Pixels are such numbers with VOC's palette, or, where a number passes 255, its colour. ``labelmap.txt`` has the
    classes, ``ImageSets/Segmentation/default.txt`` the names.
    """
    stems = Stems()
    with open_voc_folder(target, "Segmentation") as (folder, names):

        def add(localization: Localization) -> None:
            name = stems.name(localization.image_id)
            classes, objects = number_masks(localization, target.class_names)
            _write(folder / "SegmentationClass" / f"{name}.png", classes, len(target.class_names))
            _write(folder / "SegmentationObject" / f"{name}.png", objects, int(objects.max(initial=0)))
            names.append(name)

        yield add


def number_masks(
    localization: Localization, class_names: tuple[str, ...]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Draw the regions of an image's boxes.

    Returns:
        Class numbers and box numbers, both (H, W) int32 from 1, with 0 for background.

    Raises:
        DataError: The localization has no masks.
    """
    boxes = boxes_of(localization, class_names)
    masks = masks_of(localization)
    classes = np.zeros(localization.size_hw, dtype=np.int32)
    objects = classes.copy()
    for index in np.argsort([box.score for box in boxes], kind="stable").tolist():
        inside = masks[index] == 1
        classes[inside], objects[inside] = boxes[index].label + 1, index + 1
    return classes, objects


def _write(path: Path, numbers: npt.NDArray[np.int32], highest: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if highest < _PALETTE:
        image = Image.fromarray(numbers.astype(np.uint8), mode="P")
        image.putpalette([part for index in range(_PALETTE) for part in voc_colour(index)])
    else:
        colours = np.array([voc_colour(index) for index in range(highest + 1)], dtype=np.uint8)
        image = Image.fromarray(colours[numbers])
    image.save(path, optimize=False)


def tight_box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the half-open box (x0, y0, x1, y1) around a mask (H, W) that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def find(images: Images) -> list[Path]:
    """Return the root of a data set if masks were found beside its images."""
    return [images.root] if images.masks else []


def accepts(path: Path) -> bool:
    """Whether a folder that the user named has PNG files alone."""
    return path.is_dir() and _has(path, "png") and not _has(path, "txt") and not _has(path, "xml")


def open_annotations(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    """Read the masks of a data set and the boxes around their regions."""
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
    mask = _read_shades(path)
    height, width = size_hw or mask.shape
    rows, columns = mask.shape
    if not same_proportions((rows, columns), (height, width)):
        raise AnnotationError(
            f"{sample.image_id}: its mask {path} has {columns} x {rows} pixels, the image {width} x {height}: expected "
            "the same proportions"
        )
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    x, y, wide, high = stats[1:, :4].T.astype(np.float64)
    boxes = np.stack([x, y, x + wide, y + high], axis=1) * ([width / columns, height / rows] * 2)
    return Annotation(boxes_xyxy=boxes.reshape(-1, 4), mask=mask)


def _read_shades(path: Path) -> UInt8Array:
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
