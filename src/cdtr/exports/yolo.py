"""YOLO: a text file of boxes for each image, and ``data.yaml``, as Ultralytics trains on."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import yaml

from cdtr.csv_cells import to_cell
from cdtr.exports._splits import TRAIN, VAL, split_names
from cdtr.exports._stems import Stems
from cdtr.exports._target import Add, Target, boxes_of
from cdtr.records import Localization
from cdtr.runs import atomic_folder

FILE_NAME = "yolo"
NAMES = "names.csv"


class _Labels(NamedTuple):
    """An image and the text of its label file."""

    image_id: str
    label: int
    text: str


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """``labels/SPLIT/NAME.txt`` with a line a box: class from 0, centre x and y, width, height, as shares of the image.

    An image without a box has an empty file. Trainers look for an image of the same name in ``images/SPLIT``: there are
    relative links to the images, or copies where the disk has no links and with ``target.copies``. The splits are those
    of the images' own folders ``train``, ``val`` and ``test``, else ``target.val_share`` of the images are ``val``.
    With ``target.flat`` no folder lies below a split. ``names.csv`` says which file an image became. Scores have no
    place in files to train on.
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
        _write_names(folder / NAMES, rows)
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
