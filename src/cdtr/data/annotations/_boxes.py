"""A box as a file has it, and the one check that all readers of boxes share.

Boxes are scaled where their file knows the image at another size, kept inside the image, and refused, for their image
alone, where they have no inside there.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from cdtr.account import Account
from cdtr.data.annotations._images import Images
from cdtr.errors import AnnotationError, DataError
from cdtr.image_names import fold_name
from cdtr.records import Annotation, FloatArray, Sample

Corners: TypeAlias = tuple[float, float, float, float]
Size: TypeAlias = tuple[int, int]

_PIXEL = 1.0
_STRETCH = 0.05


class NamedBox(NamedTuple):
    """A half-open box in source pixels and the class that its file gives it, None where it gives none.

    fault: what is wrong with it, an error once somebody asks for its image's boxes: one bad box is no reason to lose
    those of all other images.
    """

    name: str | None
    xyxy: Corners
    fault: str | None = None


def named_box(name: str | None, corners: Sequence[float], where: str) -> NamedBox:
    """A box of a file, with a fault if it has no inside."""
    try:
        return NamedBox(name, check_box(corners, where))
    except DataError as error:
        return faulty_box(error)._replace(name=name)


def faulty_box(error: DataError) -> NamedBox:
    """In place of what cannot be read of an image's boxes."""
    return NamedBox(None, (0.0, 0.0, 0.0, 0.0), str(error))


def check_box(corners: Sequence[float], where: str) -> Corners:
    """Finite half-open corners with an inside; DataError otherwise."""
    x0, y0, x1, y1 = (float(value) for value in corners)
    if not (all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1):
        raise DataError(f"{where}: box {show(corners)} has no inside or is not finite")
    return x0, y0, x1, y1


def check_upright(degrees: float, where: str) -> None:
    """DataError for a box that is turned: its corners are those of another box."""
    if degrees % 360:
        raise DataError(f"{where}: turned by {degrees:g} degrees, expected upright boxes")


def kept_inside(corners: Sequence[float], size_hw: Size | None, where: str) -> Corners:
    """The part of a box that lies in its image, all of it where the size is not known; DataError if there is none."""
    x0, y0, x1, y1 = check_box(corners, where)
    if size_hw is not None:
        x0, x1 = (min(max(x, 0.0), float(size_hw[1])) for x in (x0, x1))
        y0, y1 = (min(max(y, 0.0), float(size_hw[0])) for y in (y0, y1))
    if not (x0 < x1 and y0 < y1):
        size = "" if size_hw is None else f" of {size_hw[1]} x {size_hw[0]}"
        raise DataError(f"{where}: box {show(corners)} covers nothing of its image{size}")
    return x0, y0, x1, y1


def show(corners: Sequence[float]) -> str:
    return ", ".join(f"{float(value):g}" for value in corners)


def scale_to(declared_hw: Size | None, size_hw: Size | None, where: str) -> tuple[float, float]:
    """How much wider and higher an image is than its file of boxes says; DataError where the proportions differ.

    A size that is unknown on one side, or 0 as some tools write it, says nothing.
    """
    if declared_hw is None or size_hw is None or min(declared_hw) < 1 or declared_hw == size_hw:
        return 1.0, 1.0
    across, down = size_hw[1] / declared_hw[1], size_hw[0] / declared_hw[0]
    if abs(across / down - 1) > min(1 / min(*declared_hw, *size_hw), _STRETCH):  # a pixel of rounding
        turned = ", so it was drawn on the image before its EXIF rotation" if declared_hw == size_hw[::-1] else ""
        raise DataError(
            f"{where}: the file says {declared_hw[1]} x {declared_hw[0]} pixels, the image has {size_hw[1]} x "
            f"{size_hw[0]}{turned}: expected boxes of this image"
        )
    return across, down


def own_boxes(
    boxes: Mapping[str, Sequence[NamedBox]],
    images: Images,
    where: str,
    account: Account,
    declared: Iterable[str] = (),
    sizes: Mapping[str, Size] | None = None,
    shares: bool = False,
) -> Callable[[Sample], Annotation | None]:
    """An annotation reader that keeps the boxes of each image's own class, as a method is asked for that class.

    Args:
        boxes: by image id.
        images: that the boxes are of.
        where: the file, for errors.
        account: counts what is taken and left out.
        declared: classes that the file lists beside those of its boxes.
        sizes: heights and widths that the file gives its images; boxes are scaled from there.
        shares: the format itself knows shares of the image, so that small boxes are no sign of them.

    Classes are compared without regard to case and to how accents are coded. Boxes without a class, or all of one class
    that is none of the data's (such as "object"), count for every image. DataError where several classes are named
    and none is the data's; AnnotationError when an image with a faulty box is asked for.
    """
    if not shares:
        _check_pixels(boxes, where, account)
    named = {box.name for found in boxes.values() for box in found if box.name is not None}
    known = {fold_name(name) for name in images.class_names}
    any_class = not known & {fold_name(name) for name in named | set(declared)}
    if any_class and len(named) > 1:
        raise DataError(
            f"{where} has boxes of {', '.join(sorted(named)[:4])}, the images are of "
            f"{', '.join(images.class_names[:4])}: name the classes alike"
        )
    if any_class and named:
        (name,) = named
        near = difflib.get_close_matches(fold_name(name), known, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        count = sum(len(found) for found in boxes.values())
        what = f"boxes of {name!r}, no class of the data, which count for every image{hint}"
        account.remark(what, where, count, serious=bool(near))
    elif not any_class:
        _tell_strangers(boxes, images, where, account)
    fold = {name: fold_name(name) for name in named}

    def annotate(sample: Sample) -> Annotation | None:
        found = boxes.get(sample.image_id)
        if found is None:
            return None
        own = fold_name(images.class_names[sample.label])
        kept = [box for box in found if box.name is None or any_class or fold[box.name] == own]
        others = sum(box.name is not None and own != fold[box.name] in known for box in found)
        if others:
            account.leave("boxes of another class than their image's", sample.image_id, others, serious=False)
        annotation = fitted(kept, images.size_of(sample), (sizes or {}).get(sample.image_id), sample.image_id, account)
        account.take(sample.image_id, len(kept))
        return annotation

    return annotate


def fitted(
    boxes: Sequence[NamedBox], size_hw: Size | None, declared_hw: Size | None, image_id: str, account: Account
) -> Annotation:
    """The boxes of an image in its pixels, clipped to it; AnnotationError for one that cannot be used."""
    for box in boxes:
        if box.fault is not None:
            raise AnnotationError(box.fault)
    if not boxes:
        return Annotation(np.zeros((0, 4)))
    try:
        across, down = scale_to(declared_hw, size_hw, image_id)
        written: FloatArray = np.array([box.xyxy for box in boxes]) * ([across, down] * 2)
        clipped: FloatArray = np.array([kept_inside(corners, size_hw, image_id) for corners in written.tolist()])
    except DataError as error:
        raise AnnotationError(str(error)) from error
    if (across, down) != (1.0, 1.0):
        account.remark("images with boxes scaled from the size that their file says", image_id, serious=True)
    over = int((np.abs(written - clipped) > 0).any(axis=1).sum())
    if not over:
        return Annotation(clipped)
    account.remark("boxes clipped to their image", image_id, over)
    return Annotation(clipped, written_xyxy=written)


def _check_pixels(boxes: Mapping[str, Sequence[NamedBox]], where: str, account: Account) -> None:
    """DataError where all corners lie between 0 and 1; a box below a pixel is told."""
    corners = [box.xyxy for found in boxes.values() for box in found if box.fault is None]
    if corners and max(max(one) for one in corners) <= 1 and any(value % 1 for one in corners for value in one):
        raise DataError(
            f"{where}: all corners lie between 0 and 1, such as {show(corners[0])}: expected pixels, not shares of the "
            "image"
        )
    for image_id, found in boxes.items():
        small = sum(
            box.fault is None and min(box.xyxy[2] - box.xyxy[0], box.xyxy[3] - box.xyxy[1]) < _PIXEL for box in found
        )
        if small:
            account.remark("boxes of less than a pixel, in which shares may stand for pixels", image_id, small, True)


def _tell_strangers(boxes: Mapping[str, Sequence[NamedBox]], images: Images, where: str, account: Account) -> None:
    """Count boxes of classes that the data lack: a name may only be spelt otherwise."""
    classes = {fold_name(name): name for name in images.class_names}
    met = {fold_name(box.name) for found in boxes.values() for box in found if box.name is not None}
    without = [name for folded, name in classes.items() if folded not in met]
    rest = f", and no box is of {', '.join(without[:3])}" if without else ""
    strange: dict[str, dict[str, int]] = {}
    for image_id, found in boxes.items():
        for box in found:
            if box.name is not None and fold_name(box.name) not in classes:
                counts = strange.setdefault(box.name, {})
                counts[image_id] = counts.get(image_id, 0) + 1
    for name, counts in strange.items():
        near = difflib.get_close_matches(fold_name(name), classes, n=1)
        hint = f", did you mean {classes[near[0]]!r}?" if near else ""
        shown = ", ".join(images.class_names[:4]) + (", ..." if len(images.class_names) > 4 else "")
        why = f"boxes of {name!r}, which is none of the classes {shown}{hint or rest}"
        for image_id, count in counts.items():
            account.leave(why, image_id, count)
