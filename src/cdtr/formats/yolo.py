"""YOLO: a text file of boxes for each image, and ``data.yaml``, as Ultralytics trains on.

Of a data set ``a.txt`` lies beside ``a.jpg``, in a folder ``labels`` beside its folder ``images``, or in ``labels`` in
the root, under the end of the image's path that tells it apart; the labels of a set for trainers, with images of its
own, are of those images. A reviewed folder is laid out as Label Studio, CVAT, Roboflow or `cdtr localize` write it: a
file of labels has the path of its image, without suffix, below a folder such as ``labels/train`` or
``obj_train_data``. An empty file is an image without a box.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

from cdtr.account import Account
from cdtr.csv_cells import from_cell, to_cell
from cdtr.errors import DataError
from cdtr.formats._checks import BoxFile, faulty_box
from cdtr.formats._images import MAX_PIXELS, Images
from cdtr.formats._own_boxes import own_boxes
from cdtr.formats._splits import TRAIN, VAL, split_names
from cdtr.formats._stems import Stems
from cdtr.formats._target import Add, Target, boxes_of
from cdtr.formats._yolo_labels import About, read_about
from cdtr.formats._yolo_labels import read_yolo as read_yolo
from cdtr.image_files.paths import walk
from cdtr.image_files.reading import IMAGE_SUFFIXES, read_size
from cdtr.image_names import exported_names
from cdtr.records import Annotation, Box, ImageBoxes, Localization, Sample
from cdtr.runs import atomic_folder

FILE_NAME = "yolo"
WRITTEN_AS = f"{FILE_NAME}/data.yaml"
_NAMES = "names.csv"
_LISTS = {"classes", "train", "val", "valid", "test"}  # .txt files in the root that hold no labels


class _Labels(NamedTuple):
    """An image and the text of its label file."""

    image_id: str
    label: int
    text: str


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write ``labels/SPLIT/NAME.txt`` with a line for each box.

    A line is the class from 0, centre x and y, width, height, as fractions of the image. An image without a box has an
    empty file. Trainers look for an image of the same name in ``images/SPLIT``: there are relative links to the images,
    or copies where the disk has no links and with ``target.copies``. The splits are those of the images' own folders
    ``train``, ``val`` and ``test``, else ``target.val_share`` of the images are ``val``. With ``target.flat`` no folder
    lies below a split. ``names.csv`` says which file an image became. Scores have no place in files to train on.
    """
    found: list[_Labels] = []

    def add(localization: Localization) -> None:
        Stems().name(localization.image_id)  # so that a name that cannot be used is said at once
        label = int(localization.labels[0]) if len(localization.labels) else localization.map_label
        found.append(_Labels(localization.image_id, label, "".join(_lines(localization, target.class_names))))

    with atomic_folder(target.path, "data.yaml") as folder:
        yield add
        placed = split_names([(one.image_id, one.label) for one in found], target.val_share)
        splits = {TRAIN: None} | dict.fromkeys(split for split, _ in placed)
        for kind in ("images", "labels"):
            for split in splits:
                (folder / kind / split).mkdir(parents=True)
        stems, rows = Stems(), []
        for one, (split, name) in zip(found, placed, strict=True):
            path = f"{split}/{name.replace('/', '_')}" if target.flat else f"{split}/{_without_images(name)}"
            stem = stems.name(path)
            image = f"images/{stem}{PurePosixPath(name).suffix}"
            labels = folder / "labels" / f"{stem}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(one.text, encoding="utf-8")
            if target.images_root is not None:
                _place(target.images_root / one.image_id, folder / image, target.copies)
            rows.append((to_cell(one.image_id), image))
        _write_names(folder / _NAMES, rows)
        # Trainers ask for train and val both; without `path` they look beside this file.
        content = {split: f"images/{split}" for split in splits} | {
            VAL: f"images/{VAL if VAL in splits else TRAIN}",
            "names": dict(enumerate(target.class_names)),
        }
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        (folder / "data.yaml").write_text(text, encoding="utf-8")


def _write_names(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "file"))
        writer.writerows(rows)


def _without_images(name: str) -> str:
    """The name with each folder ``images`` renamed: trainers find the labels by replacing the last ``/images/``."""
    path = PurePosixPath(name)
    return PurePosixPath(*(f"{part}_" if part == "images" else part for part in path.parts[:-1]), path.name).as_posix()


def _lines(localization: Localization, class_names: Sequence[str]) -> Iterator[str]:
    height, width = localization.size_hw
    for box in boxes_of(localization, class_names):
        x0, y0, x1, y1 = box.xyxy
        shares = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
        yield f"{box.label} {' '.join(f'{share:.8f}' for share in shares)}\n"


def _place(image: Path, place: Path, copy: bool) -> None:
    """A relative link to the image, so that both can be moved together, or a copy of it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        try:
            # From where the folder really is: `..` behind a link would lead elsewhere. Links of the image's own stay.
            place.symlink_to(os.path.relpath(os.path.abspath(image), os.path.realpath(place.parent)))  # noqa: PTH100
            return
        except (OSError, NotImplementedError, ValueError):  # no links on this disk, or another drive
            pass
    shutil.copyfile(image, place)


def recognises(path: Path) -> bool:
    """Whether a file is ``data.yaml``, or a folder has label files."""
    if path.is_file():
        return path.name == "data.yaml"
    return next(_reviewed_files(path), None) is not None


def read(path: Path, reviewed: bool) -> BoxFile:
    """Read reviewed boxes; an image with an empty file counts as one whose boxes were all deleted.

    Boxes are fractions of the image, whose size the format does not hold: it is taken from the image, if it is there.

    Raises:
        DataError: Any of the files, or of their boxes, cannot be used.
    """
    root = path.parent if path.is_file() else path
    about = read_about([root, root / "labels"])
    if not about.names:
        raise DataError(f"{root} has no data.yaml, classes.txt or obj.names: export it with the classes' names")
    ours = _listed_names(root, ours=True)
    if not reviewed and not ours:
        raise DataError(f"{root} has no {_NAMES}: point `boxes=` at coco.json or boxes.csv of the same `cdtr localize`")
    images = []
    for file in _reviewed_files(root):
        name = file.relative_to(root).with_suffix("").as_posix()
        image_id, image = ours.get(name, (None, None))
        names = exported_names(name) if image_id is None else (image_id,)
        size = read_size(image, MAX_PIXELS) if image is not None and image.is_file() else None
        lines = read_yolo(file, (1, 1), about.points)
        boxes = tuple(Box(about.name(number, file), shares) for number, shares in lines)
        images.append(ImageBoxes(names, size, boxes, shares=True, bare=image_id is None))
    return BoxFile(tuple(images), about.names, {})


def _reviewed_files(root: Path) -> Iterator[Path]:
    """Yield every .txt that may hold labels: neither a list of images or classes, nor a note beside them."""
    for file in sorted(root.rglob("*.txt")):
        loose = file.parent == root and (file.stem.lower() in _LISTS or file.name.upper().startswith("README"))
        if not loose and not any(part.startswith(".") for part in file.relative_to(root).parts):
            yield file


def find(images: Images) -> list[Path]:
    """Return the root of a data set if a label file of an image lies below it."""
    return [images.root] if next(images.with_files(images.root, ".txt"), None) is not None else []


def accepts(path: Path) -> bool:
    """Whether a folder that the user named is read as YOLO."""
    return path.is_dir() and next(path.rglob("*.txt"), None) is not None


def open_annotations(paths: Sequence[Path], images: Images, account: Account) -> Callable[[Sample], Annotation | None]:
    """Read the boxes of a data set."""
    boxes: dict[str, list[Box]] = {}
    for folder in paths:
        about = read_about([folder, folder / "labels", *_above(folder, images.root)])
        for path, sample in _label_files(folder, images, account):
            boxes[sample.image_id] = _named(path, sample, about)
    where = ", ".join(map(str, paths))
    if not boxes:
        found = f", found {account.line()}" if account.left_out else ""
        raise DataError(f"{where} has no label file for any of the images: expected a.txt for a.jpg{found}")
    _check_alone(boxes, where)
    return own_boxes(boxes, images, where, account, shares=True)


def _label_files(folder: Path, images: Images, account: Account) -> Iterator[tuple[Path, Sample]]:
    """Yield the label files below a folder and their images.

    Where a label file has its own image beside it, as in sets for trainers, that image says which one it is of: links
    lead to it, copies equal it. Names alone would give the labels of one split to images of another.
    """
    by_name = []
    names = _listed_names(folder)
    for path in sorted(path for path, _ in walk(folder) if path.suffix.lower() == ".txt"):
        beside = _image_beside(path)
        if beside is None:
            listed, _ = names.get(path.relative_to(folder).with_suffix("").as_posix(), ("", path))
            sample = images.find(listed, str(folder / _NAMES)) if listed else None
            if sample is None:
                by_name.append(path)
            else:
                yield path, sample
            continue
        sample = images.at(beside)
        found = [sample] if sample is not None else images.in_scope(images.with_content(beside))
        if len(found) == 1:
            yield path, found[0]
        else:
            why = "label files of images that the data lack" if not found else "label files of several equal images"
            account.leave(why, path.relative_to(folder).as_posix())
    yield from images.with_files(folder, ".txt", account, by_name)


def _listed_names(root: Path, ours: bool = False) -> dict[str, tuple[str, Path]]:
    """The id of the image and its file, by the path of its label file without suffix, as our export lists them.

    ours: raise DataError for a list that `cdtr localize` cannot have written; else others' lists are passed over.
    """
    path = root / _NAMES
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row["file"], from_cell(row["image"])) for row in csv.DictReader(file)]
        places = [(image_id, PurePosixPath(place)) for place, image_id in rows if image_id]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError) as error:
        if not ours and isinstance(error, KeyError | TypeError):
            return {}
        raise DataError(f"{path} cannot be read as CSV ({error!r:.80}): write the export again") from error
    labels = (PurePosixPath("labels", *place.parts[1:]).with_suffix("").as_posix() for _, place in places)
    return {label: (image_id, root / place) for label, (image_id, place) in zip(labels, places, strict=True)}


def _image_beside(path: Path) -> Path | None:
    """Find the image of a label file where trainers look for it: in ``images`` for the last folder ``labels``."""
    parts = list(path.absolute().parts)
    places = [number for number, part in enumerate(parts[:-1]) if part == "labels"]
    if not places:
        return None
    parts[places[-1]] = "images"
    stem = Path(*parts).with_suffix("")
    names = (stem.with_name(stem.name + suffix) for suffix in IMAGE_SUFFIXES)
    return next((path for path in names if path.is_file()), None)


def _named(path: Path, sample: Sample, about: About) -> list[Box]:
    if not path.stat().st_size:
        return []
    try:
        lines = read_yolo(path, read_size(sample.path, MAX_PIXELS), about.points)
        if not about.names:
            return [Box(f"class {kind}", corners) for kind, corners in lines]
        return [Box(about.name(kind, path), corners) for kind, corners in lines]
    except DataError as error:  # also of a broken image, which is not scored
        return [faulty_box(error)]


def _check_alone(boxes: dict[str, list[Box]], where: str) -> None:
    """Numbers without names tell nothing, unless there is only one of them."""
    numbers = {box.name for found in boxes.values() for box in found if box.name.startswith("class ")}
    if len(numbers) > 1:
        raise DataError(
            f"{where} has boxes of {', '.join(sorted(numbers)[:4])}, and no names of them: write "
            "classes.txt into the data set, a name per line in the order of the numbers"
        )


def _above(folder: Path, root: Path) -> list[Path]:
    """Folders above ``labels/train`` or ``labels``, where the names may lie."""
    if folder == root:
        return []
    return [folder.parent, *([folder.parent.parent] if folder.parent.name == "labels" else [])]
