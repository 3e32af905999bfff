"""Which image a file of boxes means by a name, and which of an image's boxes are its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cdtr.data.files import is_inside
from cdtr.errors import DataError
from cdtr.records import Annotation, Sample

_KINDS = {"images", "jpegimages", "labels", "annotations"}


class NamedBox(NamedTuple):
    """A half-open box in source pixels and the class that its file gives it, None where it gives none.

    fault: what is wrong with it, an error once somebody asks for its image's boxes: one bad box is no reason to lose
    those of all other images.
    """

    name: str | None
    xyxy: tuple[float, float, float, float]
    fault: str | None = None


class Images:
    """The labelled images of a data set, to be found by the names that files of boxes give them."""

    def __init__(self, root: Path, samples: Iterable[Sample], class_names: Sequence[str]) -> None:
        self.root = root
        self.samples = tuple(samples)
        self.class_names = tuple(class_names)
        self._by_id = {sample.image_id: sample for sample in self.samples}
        self._by_base: dict[str, list[Sample]] = {}
        self._by_stem: dict[str, list[tuple[PurePosixPath, Sample]]] = {}
        self._longer: dict[str, str] = {}  # names that say more than an image's id does, by id
        for sample in self.samples:
            path = PurePosixPath(sample.image_id)
            self._by_base.setdefault(path.name, []).append(sample)
            self._by_stem.setdefault(path.stem, []).append((_bare(path), sample))

    def find(self, name: str, where: str, below: str = "") -> Sample | None:
        """The image of a name: its whole id, or as much of the end of it as tells it apart; None if there is none.

        ``below`` keeps to the images of a folder. DataError for a name that leaves the data set, for one that several
        images have, and for a second one of an image that says more than its id does: it is of another folder.
        """
        path = PurePosixPath(name.strip().replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
            raise DataError(f"{where}: image {name!r} points outside the data set: expected a path below its root")
        if not below and str(path) in self._by_id:
            return self._by_id[str(path)]
        found = [
            sample
            for sample in self._by_base.get(path.name, ())
            if _ends_alike(PurePosixPath(sample.image_id), path) and sample.image_id.startswith(below)
        ]
        if len(found) > 1:
            raise DataError(
                f"{where}: image {name!r} may be {found[0].image_id} or {found[1].image_id}: name it with its folder"
            )
        if found:
            self._check_longer(path, found[0], where)
        return found[0] if found else None

    def _check_longer(self, name: PurePosixPath, sample: Sample, where: str) -> None:
        if len(name.parts) > len(PurePosixPath(sample.image_id).parts):
            before = self._longer.setdefault(sample.image_id, str(name))
            if before != str(name):
                raise DataError(
                    f"{where}: {sample.image_id} of {self.root} may be {before} or {name}: give the folder that both "
                    "lie below as the data, or leave the others out of the file"
                )

    def with_files(self, folder: Path, suffix: str) -> Iterator[tuple[Path, Sample]]:
        """The files below a folder that are of one image each, and their images: ``a.txt`` of ``a.jpg``.

        Their paths are compared from the end, without folders such as ``images`` and ``labels``. Links that leave the
        folder are passed over. DataError for a file that may be of several images, and for a second one of an image
        that says something else.
        """
        before: dict[str, Path] = {}
        for path in folder.rglob(f"*{suffix}"):
            of_stem = self._by_stem.get(path.stem)
            if of_stem is None or not path.is_file() or not is_inside(path, folder):
                continue
            name = _bare(PurePosixPath(path.relative_to(folder).as_posix()))
            found = [sample for bare, sample in of_stem if _ends_alike(bare, name)]
            if len(found) > 1:
                raise DataError(
                    f"{path} may be of {found[0].image_id} or {found[1].image_id}: put it into folders like theirs, "
                    "or name the boxes with data.boxes"
                )
            if found:
                first = before.setdefault(found[0].image_id, path)
                if first != path and first.read_bytes() != path.read_bytes():
                    raise DataError(
                        f"{found[0].image_id} has two files of boxes, {first} and {path}: remove one, or name the "
                        "folder of those to use with --boxes or data.boxes"
                    )
                yield path, found[0]


def own_boxes(
    boxes: Mapping[str, Sequence[NamedBox]], images: Images, where: str, declared: Iterable[str] = ()
) -> Callable[[Sample], Annotation | None]:
    """An annotation reader that keeps the boxes of each image's own class, as a method is asked for that class.

    Classes are compared without regard to case. Boxes without a class, or all of one class that is none of the data's
    (such as "object"), count for every image. ``declared``: classes that the file lists beside those of its boxes.
    DataError where several classes are named and none is the data's, and when an image with a faulty box is asked for.
    """
    named = {box.name for found in boxes.values() for box in found if box.name is not None}
    known = {name.casefold() for name in images.class_names}
    if not known & {name.casefold() for name in named | set(declared)} and len(named) > 1:
        raise DataError(
            f"{where} has boxes of {', '.join(sorted(named)[:4])}, the images are of "
            f"{', '.join(images.class_names[:4])}: name the classes alike"
        )
    any_class = not known & {name.casefold() for name in named | set(declared)}

    def annotate(sample: Sample) -> Annotation | None:
        found = boxes.get(sample.image_id)
        if found is None:
            return None
        own = images.class_names[sample.label].casefold()
        kept = [box for box in found if box.name is None or any_class or box.name.casefold() == own]
        for box in kept:
            if box.fault is not None:
                raise DataError(box.fault)
        return Annotation(np.array([box.xyxy for box in kept], dtype=np.float64).reshape(-1, 4))

    return annotate


def report_unmatched(names: Sequence[str], matched: int, images: Images, where: str) -> None:
    """Warn of names that no image has; DataError where no name has one."""
    if not names:
        return
    if not matched:
        example = images.samples[0].image_id if images.samples else "none"
        raise DataError(
            f"{where} names no image of {images.root}: it has {names[0]!r}, the images are named like {example!r}"
        )
    warnings.warn(f"{where}: {len(names)} of its images are not in {images.root}, such as {names[0]}", stacklevel=2)


def named_box(name: str | None, corners: Sequence[float], where: str) -> NamedBox:
    """A box of a file, with a fault if it has no inside."""
    try:
        return NamedBox(name, check_box(corners, where))
    except DataError as error:
        return faulty_box(error)._replace(name=name)


def faulty_box(error: DataError) -> NamedBox:
    """In place of what cannot be read of an image's boxes."""
    return NamedBox(None, (0.0, 0.0, 0.0, 0.0), str(error))


def check_box(corners: Sequence[float], where: str) -> tuple[float, float, float, float]:
    """Finite half-open corners with an inside; DataError otherwise."""
    x0, y0, x1, y1 = (float(value) for value in corners)
    if not (np.isfinite([x0, y0, x1, y1]).all() and x0 < x1 and y0 < y1):
        raise DataError(f"{where}: box {x0:g}, {y0:g}, {x1:g}, {y1:g} has no inside or is not finite")
    return x0, y0, x1, y1


def _bare(path: PurePosixPath) -> PurePosixPath:
    """Without the ending and without the folders that tell images and boxes apart."""
    return PurePosixPath(*(part for part in path.parent.parts if part.casefold() not in _KINDS), path.stem)


def _ends_alike(first: PurePosixPath, second: PurePosixPath) -> bool:
    """Whether the shorter path is the end of the longer one."""
    count = min(len(first.parts), len(second.parts))
    return first.parts[-count:] == second.parts[-count:]
