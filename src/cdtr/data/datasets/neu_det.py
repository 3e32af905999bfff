"""NEU-DET, defects of hot-rolled steel: ROOT/IMAGES, ROOT/ANNOTATIONS (Pascal VOC). Song and Yan 2013.

The class is the file name's prefix, ``rolled-in_scale_12.jpg``. ``train.txt`` and ``val.txt`` name the images of the
splits; the original has no lists, and then the last fifth by number of each class is ``val``. Boxes count pixels from 1
and include the last one (their coordinates run from 1 to 200 in 200 pixels). Some images also have boxes of a class
that is not theirs: only those of the image's own class count, since a method is asked for that class.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cdtr.data.annotations.voc import read_voc, voc_to_half_open
from cdtr.data.files import find_images, inside, natural_key, read_lines
from cdtr.errors import DataError
from cdtr.records import Annotation, DataSource, Sample


def recognises(root: Path) -> bool:
    return (root / "IMAGES").is_dir() and (root / "ANNOTATIONS").is_dir()


def load(root: Path) -> DataSource:
    if not recognises(root):
        raise DataError(f"{root} is not NEU-DET: expected the folders IMAGES and ANNOTATIONS in it")
    listed = {split: root / f"{split}.txt" for split in ("train", "val") if (root / f"{split}.txt").is_file()}
    names = {split: _read_list(root, path) for split, path in listed.items()} or _last_fifth(root)
    classes = sorted({_class_of(name) for split in names.values() for name in split}, key=natural_key)
    if not classes:
        raise DataError(f"{root} lists no images: expected names in train.txt and val.txt, or images in IMAGES")
    labels = {name: label for label, name in enumerate(classes)}
    return DataSource(
        name="neu_det",
        root=root,
        class_names=tuple(classes),
        splits={
            split: tuple(_sample(root, name, labels) for name in split_names) for split, split_names in names.items()
        },
        annotated=True,
        annotate=partial(_annotate, root, tuple(classes)),
    )


def _read_list(root: Path, path: Path) -> list[str]:
    names = read_lines(path)
    missing = [name for name in names if not inside(root / "IMAGES", name).is_file()]
    if missing:
        raise DataError(f"{path} names {len(missing)} images that IMAGES lacks, the first is {missing[0]}")
    return names


def _last_fifth(root: Path) -> dict[str, list[str]]:
    by_class: dict[str, list[str]] = {}
    for path in find_images(root / "IMAGES", root)[0]:
        by_class.setdefault(_class_of(path.name), []).append(path.name)
    cut = {name: len(images) - len(images) // 5 for name, images in by_class.items()}
    return {
        "train": [image for name, images in by_class.items() for image in images[: cut[name]]],
        "val": [image for name, images in by_class.items() for image in images[cut[name] :]],
    }


def _class_of(name: str) -> str:
    prefix, underscore, _number = name.rpartition("_")
    if not underscore or not prefix:
        raise DataError(f"{name!r} does not name its class: expected CLASS_NUMBER.jpg, such as crazing_1.jpg")
    return prefix


def _sample(root: Path, name: str, labels: dict[str, int]) -> Sample:
    path = root / "IMAGES" / name
    return Sample(image_id=path.relative_to(root).as_posix(), path=path, label=labels[_class_of(name)])


def _annotate(root: Path, classes: tuple[str, ...], sample: Sample) -> Annotation | None:
    path = root / "ANNOTATIONS" / f"{sample.path.stem}.xml"
    if not path.is_file():
        return None
    objects = [found for found in read_voc(path) if found.name == classes[sample.label]]
    return Annotation(boxes_xyxy=voc_to_half_open(objects))
