"""ILSVRC 2012, a thousand classes of ImageNet, in the layouts it is published in. Russakovsky et al. 2015.

Kaggle's: ``ILSVRC/Data/CLS-LOC/train/WNID`` and ``val``, ``LOC_val_solution.csv``, ``LOC_synset_mapping.txt`` and
``ILSVRC/Annotations/CLS-LOC``. The tar files' own: ``train/WNID``, and ``val`` flat or sorted into class folders, with
the XML of ``ILSVRC2012_bbox_val_v3.tgz`` in ``val`` or ``Annotations/val``. The public WSOL benchmark's:
``dataset/ILSVRC/train/WNID`` and ``val``, with the lists ``metadata/ILSVRC/test``. Labels and boxes are the CSV's, else
those of the lists, else the XML's. Boxes count pixels from 0 and pass unchanged, as the benchmark's evaluator takes
them; an image may have several. No image is opened to list the set. Where ``val2`` (ImageNetV2) and the lists
``metadata/ILSVRC/val`` are there as well, they are the split ``train-fullsup``.
"""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cdtr.data.wordnet import class_names
from cdtr.errors import DataError
from cdtr.formats.voc import read_voc
from cdtr.formats.wsol import LABEL_LISTS, Places, annotate_place, read_labels, read_places
from cdtr.image_files.paths import inside, read_lines
from cdtr.image_files.reading import IMAGE_SUFFIXES
from cdtr.records import Annotation, DataSource, Sample

_SOLUTION = "LOC_val_solution.csv"
_MAPPING = "LOC_synset_mapping.txt"


class Layout(NamedTuple):
    """The folders of the parts of the set."""

    images: Path  # holds train and val
    boxes: tuple[Path, ...]  # folders that hold train and val with XML


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    layout = _layout(root)
    if layout is None or (root / "wnids.txt").is_file():  # that is Tiny-ImageNet
        return False
    with os.scandir(layout.images / "train") as entries:
        return any(_is_wnid(entry.name) for entry in entries) and (
            (layout.images / "val").is_dir() or (root / _SOLUTION).is_file()
        )


def load(root: Path) -> DataSource:
    """Index ILSVRC; DataError if it is damaged."""
    layout = _layout(root)
    listing = _Listing()
    wnids = listing.folders(layout.images / "train") if layout else []
    if layout is None or not wnids:
        linked = f", and found {listing.linked} dead links" if listing.linked else ""
        raise DataError(
            f"{root} is not ILSVRC: expected train/WNID, or ILSVRC/Data/CLS-LOC/train/WNID, and val in it{linked}"
        )
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    train = [
        Sample(f"train/{wnid}/{name}", layout.images / "train" / wnid / name, label_of[wnid])
        for wnid in wnids
        for name in listing.images(layout.images / "train" / wnid)
    ]
    solution = _read_solution(root)
    labels, places = ({}, {}) if solution else _lists(root, "test")
    if max(labels.values(), default=-1) >= len(wnids):  # numbers of classes that are not all here
        labels, places = {}, {}
    val = _val_samples(layout, listing, label_of, solution, labels)
    splits = {"train": tuple(train), "val": tuple(val)}
    if listing.linked:
        warnings.warn(f"{root}: {listing.linked} dead links are left out", stacklevel=2)
    extra, extra_places = _fullsup(root, layout, len(wnids))
    places |= extra_places
    if extra:
        splits["train-fullsup"] = extra
    annotated = bool(solution or places) or any((folder / "val").is_dir() for folder in layout.boxes)
    return DataSource(
        name="ilsvrc",
        root=root,
        class_names=class_names(wnids, _words(root)),
        splits=splits,
        annotated=annotated,
        annotate=partial(_annotate, root, layout, wnids, solution, places),
    )


def _layout(root: Path) -> Layout | None:
    for place in (root / "ILSVRC" / "Data" / "CLS-LOC", root / "Data" / "CLS-LOC", root, root / "dataset" / "ILSVRC"):
        if (place / "train").is_dir():
            beside = (
                root / "ILSVRC" / "Annotations" / "CLS-LOC",
                root / "Annotations" / "CLS-LOC",
                root / "Annotations",
            )
            return Layout(place, (*(folder for folder in beside if folder.is_dir()), place))
    return None


class _Listing:
    """Lists names alone: a thousand folders of a thousand files are not opened."""

    def __init__(self) -> None:
        self._links: set[str] = set()

    @property
    def linked(self) -> int:
        """Number of dead links found so far."""
        return len(self._links)

    def folders(self, folder: Path) -> list[str]:
        """List the class folders in a folder."""
        return sorted(name for name in self._names(folder) if _is_wnid(name))

    def images(self, folder: Path) -> list[str]:
        return sorted(name for name in self._names(folder) if Path(name).suffix.lower() in IMAGE_SUFFIXES)

    def _names(self, folder: Path) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink() and not Path(entry.path).exists():
                    self._links.add(entry.path)
                else:
                    yield entry.name


def _is_wnid(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdecimal()


def _val_samples(
    layout: Layout,
    listing: _Listing,
    label_of: Mapping[str, int],
    solution: Mapping[str, str],
    labels: Mapping[str, int],
) -> Iterator[Sample]:
    folder = layout.images / "val"
    if not folder.is_dir():
        return
    for wnid in listing.folders(folder):
        if wnid in label_of:
            for name in listing.images(folder / wnid):
                yield Sample(f"val/{name}", folder / wnid / name, label_of[wnid])
    unknown = []
    for name in listing.images(folder):
        label = labels.get(f"val/{name}")
        if label is None:
            wnid = solution[Path(name).stem].split()[0] if Path(name).stem in solution else _wnid_of(layout, name)
            label = label_of.get(wnid)
        if label is None:
            unknown.append(name)
            continue
        yield Sample(f"val/{name}", folder / name, label)
    if unknown:
        raise DataError(
            f"{folder}: {len(unknown)} images are of no known class, such as {unknown[0]}: expected {_SOLUTION} in the "
            "root, XML for each in Annotations/CLS-LOC/val, or the lists metadata/ILSVRC/test"
        )


def _wnid_of(layout: Layout, name: str) -> str:
    path = _xml(layout, "val", name)
    objects = read_voc(path) if path is not None else []
    return objects[0].name if objects else ""


def _xml(layout: Layout, *parts: str) -> Path | None:
    paths = [folder.joinpath(*parts).with_suffix(".xml") for folder in layout.boxes]
    return next((path for path in paths if path.is_file()), None)


def _read_solution(root: Path) -> dict[str, str]:
    """Read lines ``WNID x0 y0 x1 y1 WNID ...`` by the image's name without its suffix."""
    path = root / _SOLUTION
    if not path.is_file():
        return {}
    found = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=1):
                image, text = row.get("ImageId"), row.get("PredictionString")
                if not image or not text or len(text.split()) % 5:
                    raise DataError(f"{path}, row {number}: expected ImageId and PredictionString of WNID x0 y0 x1 y1")
                found[image] = text
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error})") from error
    return found


def _annotate(
    root: Path, layout: Layout, wnids: list[str], solution: Mapping[str, str], places: Places, sample: Sample
) -> Annotation | None:
    if sample.image_id in places:
        return annotate_place(root, places, sample)
    own = wnids[sample.label]
    name = sample.path.name
    if sample.image_id.startswith("val/") and sample.path.stem in solution:
        words = solution[sample.path.stem].split()
        boxes = [words[i + 1 : i + 5] for i in range(0, len(words), 5) if words[i] == own]
        return Annotation(_boxes(boxes, f"{root / _SOLUTION}, {sample.path.stem}"))
    path = _xml(layout, "val", name) if sample.image_id.startswith("val/") else _xml(layout, "train", own, name)
    path = path or _xml(layout, "val", own, name)
    if path is None:
        return None
    found = [o for o in read_voc(path) if o.name == own]
    return Annotation(_boxes([(o.xmin, o.ymin, o.xmax, o.ymax) for o in found], str(path)))


def _boxes(values: Sequence[Sequence[str | float]], where: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    try:
        boxes = np.array(values, dtype=np.float64).reshape(-1, 4)
    except ValueError as error:
        raise DataError(f"{where}: {error}, expected numbers x0 y0 x1 y1") from error
    if not (np.isfinite(boxes).all() and (boxes[:, :2] <= boxes[:, 2:]).all()):
        raise DataError(f"{where}: a box is inverted or not finite, expected x0 <= x1 and y0 <= y1")
    return boxes


def _words(root: Path) -> dict[str, str]:
    for path in (root / _MAPPING, root / "ILSVRC" / _MAPPING):
        if path.is_file():
            return {wnid: names for wnid, _, names in (line.partition(" ") for line in read_lines(path))}
    return {}


def _fullsup(root: Path, layout: Layout, n_classes: int) -> tuple[tuple[Sample, ...], Places]:
    """ImageNetV2 with the benchmark's boxes, where both are there."""
    if not (layout.images / "val2").is_dir():
        return (), {}
    labels, places = _lists(root, "val")
    if max(labels.values(), default=-1) >= n_classes:
        raise DataError(
            f"{root / 'metadata/ILSVRC/val'} has the class {max(labels.values())}, train has {n_classes}: bring all of "
            "train"
        )
    return tuple(Sample(name, inside(layout.images, name), label) for name, label in labels.items()), places


def _lists(root: Path, name: str) -> tuple[dict[str, int], Places]:
    """Labels and boxes by image from the benchmark's lists, empty where they are not there."""
    folder = root / "metadata" / "ILSVRC" / name
    if not all((folder / of).is_file() for of in LABEL_LISTS):
        return {}, {}
    labels = read_labels(folder)
    return labels, read_places(folder, labels)
