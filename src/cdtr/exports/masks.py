"""Masks as PNG, in Pascal VOC's layout for segmentation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.errors import DataError
from cdtr.exports._stems import Stems
from cdtr.exports._target import Add, Target, boxes_of
from cdtr.exports._voc_labels import FILE, check_label_names, voc_colour, write_label_map
from cdtr.records import Localization
from cdtr.runs import atomic_folder

FILE_NAME = "masks"
NEEDS_MASKS = True
_PALETTE = 256


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """``SegmentationClass/NAME.png`` and ``SegmentationObject/NAME.png``: 0 is background, else the class counted from
    1, or the number of the box; where regions overlap, the better scored box's.

    Pixels are such numbers with VOC's palette, or, where a number passes 255, its colour. ``labelmap.txt`` has the
    classes, ``ImageSets/Segmentation/default.txt`` the names.
    """
    check_label_names(target.class_names)
    stems, names = Stems(), []
    with atomic_folder(target.path, FILE) as folder:

        def add(localization: Localization) -> None:
            name = stems.name(localization.image_id)
            classes, objects = number_masks(localization, target.class_names)
            _write(folder / "SegmentationClass" / f"{name}.png", classes, len(target.class_names))
            _write(folder / "SegmentationObject" / f"{name}.png", objects, int(objects.max(initial=0)))
            names.append(name)

        yield add
        (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
        listed = "".join(f"{name}\n" for name in names)
        (folder / "ImageSets" / "Segmentation" / "default.txt").write_text(listed, encoding="utf-8")
        write_label_map(folder, target.class_names)


def number_masks(
    localization: Localization, class_names: tuple[str, ...]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Class and box numbers (H, W), both from 1, 0 for background; DataError for a localization without masks."""
    boxes = boxes_of(localization, class_names)
    if localization.masks is None or localization.masks.shape != (len(boxes), *localization.size_hw):
        raise DataError(f"{localization.image_id} has no mask for each box: localize with masks")
    classes = np.zeros(localization.size_hw, dtype=np.int32)
    objects = classes.copy()
    for index in np.argsort([box.score for box in boxes], kind="stable").tolist():
        inside = localization.masks[index] == 1
        classes[inside], objects[inside] = boxes[index].label + 1, index + 1
    return classes, objects


def _write(path: Path, numbers: npt.NDArray[np.int32], highest: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if highest < _PALETTE:
        picture = Image.fromarray(numbers.astype(np.uint8), mode="P")
        picture.putpalette([part for index in range(_PALETTE) for part in voc_colour(index)])
    else:
        colours = np.array([voc_colour(index) for index in range(highest + 1)], dtype=np.uint8)
        picture = Image.fromarray(colours[numbers])
    picture.save(path, optimize=False)
