"""YOLO: a text file of boxes for each image, and ``data.yaml``, as Ultralytics trains on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import yaml

from cdtr.exports._stems import Stems
from cdtr.exports._target import Add, Target, boxes_of
from cdtr.records import Localization
from cdtr.runs import atomic_folder

FILE_NAME = "yolo"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """``labels/train/NAME.txt`` with a line a box: class from 0, centre x and y, width, height, as shares of the image.

    An image without a box has an empty file. Trainers look for an image of the same name in ``images/train``: there are
    links to the images, or copies where the disk has no links. Scores have no place in files to train on.
    """
    stems = Stems()
    with atomic_folder(target.path, "data.yaml") as folder:
        for kind in ("images", "labels"):
            (folder / kind / "train").mkdir(parents=True)

        def add(localization: Localization) -> None:
            name = stems.name(_without_images(localization.image_id))
            labels = folder / "labels" / "train" / f"{name}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text("".join(_lines(localization, target.class_names)), encoding="utf-8")
            if target.images_root is not None:
                suffix = PurePosixPath(localization.image_id).suffix
                _link(target.images_root / localization.image_id, folder / "images" / "train" / f"{name}{suffix}")

        yield add
        # Trainers ask for both; without `path` they look beside this file.
        content = {"train": "images/train", "val": "images/train", "names": dict(enumerate(target.class_names))}
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        (folder / "data.yaml").write_text(text, encoding="utf-8")


def _without_images(image_id: str) -> str:
    """The id with each folder ``images`` renamed: trainers find the labels by replacing the last ``/images/``."""
    path = PurePosixPath(image_id)
    return PurePosixPath(*(f"{part}_" if part == "images" else part for part in path.parts[:-1]), path.name).as_posix()


def _lines(localization: Localization, class_names: Sequence[str]) -> Iterator[str]:
    height, width = localization.size_hw
    for box in boxes_of(localization, class_names):
        x0, y0, x1, y1 = box.xyxy
        shares = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
        yield f"{box.label} {' '.join(f'{share:.8f}' for share in shares)}\n"


def _link(image: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(os.path.abspath(image))  # noqa: PTH100, keeps links
    except (OSError, NotImplementedError):
        shutil.copyfile(image, link)
