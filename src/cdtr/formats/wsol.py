"""The lists of the public WSOL benchmark (Choe et al. 2020), each with an image's id at the start of its lines.

``image_ids.txt``; ``class_labels.txt`` (``id,label``); ``image_sizes.txt`` (``id,width,height``); ``localization.txt``
with boxes, ``id,x0,y0,x1,y1``, whose corners pass unchanged, or masks, ``id,mask,ignore``, with paths below the root;
either several lines an image. Beside images that are sorted by class ``localization.txt`` alone is enough, in the
root, in ``annotations`` or ``metadata``, or in each split's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.account import Account
from cdtr.errors import DataError
from cdtr.formats._checks import Size, check_in_pixels, same_proportions
from cdtr.formats._images import MAX_PIXELS, Images, header_size, report_unmatched
from cdtr.formats.masks import tight_box
from cdtr.image_files.paths import inside, read_lines, visible_folders
from cdtr.image_files.reading import FORMATS, read_size, refuse_many_scans
from cdtr.records import Annotation, Sample, UInt8Array

LABEL_LISTS = ("image_ids.txt", "class_labels.txt")
BOXES_LIST = "localization.txt"
Places = dict[str, list[tuple[str, ...]]]
_OBJECT, _IGNORE = 1, 255
_MAX_MASK_PIXELS = 100_000_000
BoolArray = npt.NDArray[np.bool_]


def find(images: Images) -> list[Path]:
    """Find the lists of boxes of a data set where they usually lie."""
    folders = [images.root, *visible_folders(images.root)]
    folders += [split for name in ("metadata", "annotations") for split in _folders(images.root / name)]
    return [folder / BOXES_LIST for folder in folders if (folder / BOXES_LIST).is_file()]


def accepts(path: Path) -> bool:
    """Whether a file or folder that the user named is read as lists."""
    return (path / BOXES_LIST if path.is_dir() else path).is_file() and (path.is_dir() or path.suffix == ".txt")


def open_annotations(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    """Read the boxes and masks of a data set."""
    places: Places = {}
    for given in paths:
        path = given / BOXES_LIST if given.is_dir() else given
        unmatched: list[str] = []
        for name, fields, where in _entries(path):
            sample = images.find(name, where)
            if sample is None:
                unmatched.append(name)
            else:
                _add(places, sample.image_id, fields, where)
        report_unmatched(unmatched, len(places), images, str(path), account)
    boxes = [list(map(float, fields)) for found in places.values() for fields in found if len(fields) == 4]
    check_in_pixels(boxes, ", ".join(map(str, paths)))
    for image_id, found in places.items():
        account.take(image_id, len(found))
    return partial(annotate_place, images.root, places)


class Lists(NamedTuple):
    """The content of lists: class numbers of the images by split, and their places and sizes (height, width)."""

    labels: dict[str, dict[str, int]]
    places: Places
    sizes: dict[str, Size]


def read_lists(folders: Mapping[str, Path]) -> Lists:
    """Read all lists of a set, from a folder for each split."""
    lists = Lists({}, {}, {})
    for split, folder in folders.items():
        labels = lists.labels[split] = read_labels(folder)
        lists.places.update(read_places(folder, labels))
        lists.sizes.update(read_sizes(folder, labels))
    return lists


def read_labels(folder: Path) -> dict[str, int]:
    """Read the class number of each image, in the order of ``image_ids.txt``."""
    ids = read_lines(folder / "image_ids.txt")
    known = dict.fromkeys(ids, -1)
    if not ids or len(known) < len(ids):
        twice = next((image_id for image_id in known if ids.count(image_id) > 1), None)
        found = "no id" if twice is None else f"{twice} twice"
        raise DataError(f"{folder / 'image_ids.txt'} has {found}: expected each image once")
    for image_id, (label,), where in _fields(folder / "class_labels.txt", dict(known), (1,)):
        if not label.strip().isdecimal():
            raise DataError(f"{where}: label {label!r}, expected a class number from 0 on")
        known[image_id] = int(label)
    missing = [image_id for image_id, label in known.items() if label < 0]
    if missing:
        raise DataError(f"{folder / 'class_labels.txt'} lacks {len(missing)} images, such as {missing[0]}")
    return known


def read_sizes(folder: Path, known: Mapping[str, int]) -> dict[str, Size]:
    """Read height and width of the images, where the folder lists them."""
    path = folder / "image_sizes.txt"
    sizes: dict[str, Size] = {}
    for image_id, fields, where in _fields(path, known, (2,)) if path.is_file() else ():
        width, height = _numbers(fields, where)
        if min(width, height) < 1:
            raise DataError(f"{where}: size {fields}, expected width and height of at least 1")
        sizes[image_id] = int(height), int(width)
    return sizes


def size_reader(sizes: Mapping[str, Size]) -> Callable[[Sample], Size] | None:
    """Make a reader of image sizes that reads a header where no list has the size; None without lists."""
    if not sizes:
        return None
    return lambda sample: sizes.get(sample.image_id) or read_size(sample.path, MAX_PIXELS)


def read_places(folder: Path, known: Mapping[str, int]) -> Places:
    """Read the fields of the images' lines in ``localization.txt``, checked if they are boxes; empty without it."""
    path = folder / BOXES_LIST
    places: Places = {}
    for image_id, fields, where in _fields(path, known, (4, 2)) if path.is_file() else ():
        _add(places, image_id, fields, where)
    return places


def annotate_place(
    root: Path, places: Places, sample: Sample, sizes: Mapping[str, Size] | None = None
) -> Annotation | None:
    """Return the boxes of an image, and of masks also the mask, with a box around each object.

    Args:
        root: The folder of the masks.
        places: The lines of the images in ``localization.txt``.
        sample: The image.
        sizes: Height and width of images, where lists have them, so that a mask's image need not be there.

    Returns:
        The annotation; None for an image without a line.
    """
    found = places.get(sample.image_id)
    if found is None:
        return None
    if len(found[0]) == 4:
        return Annotation(boxes_xyxy=np.array(found, dtype=np.float64))
    objects = [inside(root, mask) for mask, _ in found]
    ignored = [inside(root, ignore) for _, ignore in found if ignore]
    return mask_annotation(sample, objects, ignored, sizes.get(sample.image_id) if sizes else None)


def mask_annotation(
    sample: Sample, objects: Sequence[Path], ignored: Sequence[Path], size_hw: Size | None = None
) -> Annotation:
    """Merge the masks of instances and of regions to ignore: 1 object, 0 background, 255 ignore.

    Masks may be stored smaller or larger than their image, and than each other.

    Args:
        sample: The image.
        objects: The mask of each instance.
        ignored: The masks of regions to ignore.
        size_hw: The size of the image, else that of its header, else, where it cannot be read, of the largest mask.

    Returns:
        The merged mask, and a box around each instance in pixels of the image.
    """
    regions, passed = [_read_mask(path) for path in objects], [_read_mask(path) for path in ignored]
    shapes = sorted({mask.shape for mask in regions + passed}, key=lambda shape: (shape[0] * shape[1], shape))
    height, width = shapes[-1]
    if any(not same_proportions(shape, (height, width)) for shape in shapes):
        raise DataError(f"{sample.image_id}: its masks have sizes {shapes}, expected the same proportions")
    mask: UInt8Array = np.zeros((height, width), dtype=np.uint8)
    for region, value in [(region, _IGNORE) for region in passed] + [(region, _OBJECT) for region in regions]:
        mask[_enlarged(region, (height, width))] = value
    shown = size_hw or header_size(sample.path) or (height, width)
    boxes = [
        np.array(tight_box(region)) * np.tile(np.divide(shown, region.shape)[::-1], 2)
        for region in regions
        if region.any()
    ]
    return Annotation(boxes_xyxy=np.array(boxes).reshape(-1, 4), mask=mask)


def _enlarged(region: BoolArray, size_hw: Size) -> BoolArray:
    if region.shape == size_hw:
        return region
    height, width = size_hw
    nearest = Image.fromarray(region).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(nearest, dtype=np.bool_)


def _folders(root: Path) -> list[Path]:
    return [root, *visible_folders(root)] if root.is_dir() else []


def _entries(path: Path) -> Iterator[tuple[str, list[str], str]]:
    """(id, other fields, where) of each line whose id is not known beforehand: four numbers make a box."""
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, entry {number}"
        name, *fields = line.rsplit(",", 4)
        if len(fields) == 4 and all(_is_number(field) for field in fields):
            yield name, fields, where
            continue
        name, *fields = line.rsplit(",", 2)
        if len(fields) != 2:
            raise DataError(f"{where}: {line!r}, expected an id and x0,y0,x1,y1, or an id, a mask and an ignore mask")
        yield name, fields, where


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _fields(path: Path, known: Mapping[str, int], counts: tuple[int, ...]) -> Iterator[tuple[str, list[str], str]]:
    """(id, other fields, where) of each line; the id may hold commas itself."""
    for number, line in enumerate(read_lines(path), start=1):
        where = f"{path}, entry {number}"
        for count in counts:
            image_id, *fields = line.rsplit(",", count)
            if len(fields) == count and image_id in known:
                yield image_id, fields, where
                break
        else:
            raise DataError(f"{where}: {line!r} is not an id of image_ids.txt and {counts[0]} values: correct the list")


def _numbers(fields: list[str], where: str) -> list[float]:
    try:
        found = [float(field) for field in fields]
    except ValueError as error:
        raise DataError(f"{where}: {error}, expected numbers") from error
    if not np.isfinite(found).all():
        raise DataError(f"{where}: {','.join(fields)} are not finite, expected numbers")
    return found


def _add(places: Places, image_id: str, fields: list[str], where: str) -> None:
    found = places.setdefault(image_id, [])
    if found and len(found[0]) != len(fields):
        raise DataError(f"{where}: {image_id} has boxes and masks, expected lines of one kind for each image")
    found.append(_checked(fields, where))


def _checked(fields: list[str], where: str) -> tuple[str, ...]:
    if len(fields) == 4:
        x0, y0, x1, y1 = _numbers(fields, where)
        if x0 > x1 or y0 > y1:
            raise DataError(f"{where}: box {','.join(fields)} is inverted, expected x0,y0,x1,y1")
    return tuple(fields)


def _read_mask(path: Path) -> BoolArray:
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > _MAX_MASK_PIXELS:
                raise DataError(f"{path}: mask of {image.width}x{image.height} pixels, too large")
            refuse_many_scans(image, file, path)
            return np.asarray(image.convert("L")) > 0
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(f"{path}: cannot be read as a mask ({error})") from error
