"""The true boxes of a data set's images, from the boxes of a file.

Boxes are scaled where their file knows the image at another size, clipped to the image, and refused, for their image
alone, where nothing of them lies there.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from cdtr.account import Account
from cdtr.errors import AnnotationError, DataError
from cdtr.formats._checks import Size, check_in_pixels, kept_inside, scale_to
from cdtr.formats._images import Images
from cdtr.image_names import fold_name
from cdtr.records import Annotation, Box, FloatArray, Sample

_PIXEL = 1.0


def own_boxes(
    boxes: Mapping[str, Sequence[Box]],
    images: Images,
    where: str,
    account: Account,
    declared: Iterable[str] = (),
    sizes: Mapping[str, Size] | None = None,
    shares: bool = False,
) -> Callable[[Sample], Annotation | None]:
    """Make an annotation reader that keeps the boxes of each image's own class, which methods are evaluated on.

    Classes are compared without regard to case and to how accents are coded. Boxes without a class, or all of one class
    that is none of the data's (such as "object"), count for every image.

    Args:
        boxes: The boxes by image id.
        images: The images of the data set.
        where: The file, for errors.
        account: Counts what is taken and left out.
        declared: Classes that the file lists beside those of its boxes.
        sizes: Heights and widths that the file gives its images; boxes are scaled from there.
        shares: The format has fractions of the image by definition, so that small boxes need no warning.

    Returns:
        A function that returns the annotation of a sample, None for an image that the file lacks. It raises
        AnnotationError for an image with a faulty box.

    Raises:
        DataError: Several classes are named and none is the data's.
    """
    if not shares:
        _check_pixels(boxes, where, account)
    named = {box.name for found in boxes.values() for box in found if box.name}
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
        kept = [box for box in found if not box.name or any_class or fold[box.name] == own]
        others = sum(bool(box.name) and own != fold[box.name] in known for box in found)
        if others:
            account.leave("boxes of another class than their image's", sample.image_id, others, serious=False)
        annotation = fitted(kept, images.size_of(sample), (sizes or {}).get(sample.image_id), sample.image_id, account)
        account.take(sample.image_id, len(kept))
        return annotation

    return annotate


def fitted(
    boxes: Sequence[Box], size_hw: Size | None, declared_hw: Size | None, image_id: str, account: Account
) -> Annotation:
    """Scale the boxes to the image and clip them; raise AnnotationError for a box that cannot be used."""
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


def _check_pixels(boxes: Mapping[str, Sequence[Box]], where: str, account: Account) -> None:
    """Raise DataError where all corners lie between 0 and 1; count boxes of less than a pixel."""
    check_in_pixels([box.xyxy for found in boxes.values() for box in found if box.fault is None], where)
    for image_id, found in boxes.items():
        small = sum(
            box.fault is None and min(box.xyxy[2] - box.xyxy[0], box.xyxy[3] - box.xyxy[1]) < _PIXEL for box in found
        )
        if small:
            account.remark("boxes of less than a pixel, in which shares may stand for pixels", image_id, small, True)


def _tell_strangers(boxes: Mapping[str, Sequence[Box]], images: Images, where: str, account: Account) -> None:
    """Count boxes of classes that the data lack: a name may be misspelt."""
    classes = {fold_name(name): name for name in images.class_names}
    met = {fold_name(box.name) for found in boxes.values() for box in found if box.name}
    without = [name for folded, name in classes.items() if folded not in met]
    rest = f", and no box is of {', '.join(without[:3])}" if without else ""
    strange: dict[str, dict[str, int]] = {}
    for image_id, found in boxes.items():
        for box in found:
            if box.name and fold_name(box.name) not in classes:
                counts = strange.setdefault(box.name, {})
                counts[image_id] = counts.get(image_id, 0) + 1
    for name, counts in strange.items():
        near = difflib.get_close_matches(fold_name(name), classes, n=1)
        hint = f", did you mean {classes[near[0]]!r}?" if near else ""
        shown = ", ".join(images.class_names[:4]) + (", ..." if len(images.class_names) > 4 else "")
        why = f"boxes of {name!r}, which is none of the classes {shown}{hint or rest}"
        for image_id, count in counts.items():
            account.leave(why, image_id, count)
