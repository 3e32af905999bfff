"""NEU-DET, defects of hot-rolled steel: ROOT/IMAGES, ROOT/ANNOTATIONS (Pascal VOC). Song and Yan 2013.

The class is the file name's prefix, ``rolled-in_scale_12.jpg``. ``train.txt`` and ``val.txt`` name the images of the
splits; the original has no lists, and then the last fifth by number of each class is ``val``. Kaggle's mirror has
``train|validation/images/CLASS`` and ``train|validation/annotations`` instead. Boxes count pixels from 1 and include
the last one (their coordinates run from 1 to 200 in 200 pixels). Some images also have boxes of a class that is not
theirs: only those of the image's own class count, since a method is asked for that class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from cdtr.account import Account
from cdtr.data.datasets._class_folders import read_class_folders
from cdtr.errors import DataError
from cdtr.formats.voc import read_own
from cdtr.image_files.paths import find_images, inside, natural_key, read_lines, visible_folders
from cdtr.records import Annotation, DataSource, Sample

_MIRROR = {"train": "train", "validation": "val"}
_SOME_CLASSES = {"crazing", "inclusion", "patches"}
LAYOUT = "NEU-DET: expected the folders IMAGES and ANNOTATIONS in it, or train/images and train/annotations"


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return ((root / "IMAGES").is_dir() and (root / "ANNOTATIONS").is_dir()) or _is_mirror(root)


def load(root: Path) -> DataSource:
    """Index NEU-DET; DataError if it is damaged."""
    return _from_mirror(root) if _is_mirror(root) else _from_original(root)


def _is_mirror(root: Path) -> bool:
    images = root / "train" / "images"
    if not (images.is_dir() and (root / "train" / "annotations").is_dir()):
        return False
    return {folder.name for folder in visible_folders(images)} >= _SOME_CLASSES


def _from_mirror(root: Path) -> DataSource:
    folders = {split: root / name / "images" for name, split in _MIRROR.items() if (root / name / "images").is_dir()}
    classes, splits = read_class_folders(root, folders)
    names = tuple(classes)
    return _source(root, names, splits, _mirror_xml)


def _mirror_xml(sample: Sample, root: Path) -> Path:
    split = sample.path.relative_to(root).parts[0]
    return root / split / "annotations" / f"{sample.path.stem}.xml"


def _original_xml(sample: Sample, root: Path) -> Path:
    return root / "ANNOTATIONS" / f"{sample.path.stem}.xml"


def _from_original(root: Path) -> DataSource:
    listed = {split: root / f"{split}.txt" for split in ("train", "val") if (root / f"{split}.txt").is_file()}
    names = {split: _read_list(root, path) for split, path in listed.items()} or _last_fifth(root)
    classes = sorted({_class_of(name) for split in names.values() for name in split}, key=natural_key)
    if not classes:
        raise DataError(f"{root} lists no images: expected names in train.txt and val.txt, or images in IMAGES")
    labels = {name: label for label, name in enumerate(classes)}
    splits = {split: tuple(_sample(root, name, labels) for name in split_names) for split, split_names in names.items()}
    return _source(root, tuple(classes), splits, _original_xml)


def _source(
    root: Path,
    classes: tuple[str, ...],
    splits: Mapping[str, tuple[Sample, ...]],
    xml_of: Callable[[Sample, Path], Path],
) -> DataSource:
    boxes = Account("boxes (voc)", str(root))
    return DataSource(
        name="neu_det",
        root=root,
        class_names=classes,
        splits=splits,
        annotated=True,
        annotate=partial(_annotate, root, classes, xml_of, boxes),
        accounts=(Account("images", str(root)), boxes),
    )


def _read_list(root: Path, path: Path) -> list[str]:
    names = read_lines(path)
    missing = [name for name in names if not inside(root / "IMAGES", name).is_file()]
    if missing:
        raise DataError(f"{path} names {len(missing)} images that IMAGES lacks, the first is {missing[0]}")
    return names


def _last_fifth(root: Path) -> dict[str, list[str]]:
    by_class: dict[str, list[str]] = {}
    account = Account("images", str(root))
    paths = find_images(root / "IMAGES", root, account)
    account.warn()
    for path in paths:
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


def _annotate(
    root: Path, classes: tuple[str, ...], xml_of: Callable[[Sample, Path], Path], account: Account, sample: Sample
) -> Annotation | None:
    path = xml_of(sample, root)
    if not path.is_file():
        return None
    return read_own(path, sample, classes[sample.label], account)
