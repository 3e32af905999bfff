"""CUB-200-2011 with CUB-V2, five more images a class with boxes, as the split ``train-fullsup``. Choe et al. 2020.

Either the public WSOL benchmark's layout, lists in ``metadata/CUB/train|val|test`` and all images in
``dataset/CUB/CLASS``; or CUB-200-2011 as it is published, with the folder ``metadata/CUB/val`` or ``CUBV2`` of the
benchmark's lists (``image_ids.txt``, ``class_labels.txt``, ``localization.txt``) in it, and the images of ``CUBV2.tar``
in ``images`` or ``CUBV2``. A threshold is chosen on them with `cdtr calibrate RUN --split train-fullsup`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from cdtr.data.datasets import cub
from cdtr.errors import DataError
from cdtr.formats.wsol import (
    LABEL_LISTS,
    Places,
    annotate_place,
    read_labels,
    read_lists,
    read_places,
    size_reader,
)
from cdtr.image_files.paths import inside
from cdtr.records import Annotation, DataSource, Sample

_SPLITS = {"train": "train", "val": "train-fullsup", "test": "test"}
_FULLSUP = "train-fullsup"
LAYOUT = (
    f"CUB with CUB-V2: expected metadata/CUB/val with {' and '.join(LABEL_LISTS)}, and CUB-200-2011's own lists or "
    "dataset/CUB"
)


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return bool(_benchmark(root)) or (cub.has_lists(root) and cub.extra_lists(root) is not None)


def load(root: Path) -> DataSource:
    """Index CUB with CUB-V2; DataError if it is damaged."""
    return _from_benchmark(root) if _benchmark(root) else _beside_cub(root)


def _benchmark(root: Path) -> dict[str, Path]:
    """The folders of lists by split, where all images lie as the benchmark has them."""
    found = {split: root / "metadata" / "CUB" / name for name, split in _SPLITS.items()}
    whole = all((folder / name).is_file() for folder in found.values() for name in LABEL_LISTS)
    return found if whole and (root / "dataset" / "CUB").is_dir() else {}


def _from_benchmark(root: Path) -> DataSource:
    labels, places, sizes = read_lists(_benchmark(root))
    splits = {
        split: tuple(Sample(name, inside(root / "dataset" / "CUB", name), label) for name, label in found.items())
        for split, found in labels.items()
    }
    names = {label: name.split("/")[0] for found in labels.values() for name, label in found.items()}
    return DataSource(
        name="cub_v2",
        root=root,
        class_names=tuple(names.get(label, f"class {label}") for label in range(max(names) + 1)),
        splits=splits,
        annotated=bool(places),
        annotate=partial(annotate_place, root, places),
        size_hw=size_reader(sizes),
    )


def _beside_cub(root: Path) -> DataSource:
    first, lists = cub.load(root), cub.extra_lists(root)
    assert lists is not None  # recognised
    labels = read_labels(lists)
    of_folder = {name: label for label, name in enumerate(first.class_names)}
    samples = []
    for name in labels:
        folder = name.split("/")[0]
        if folder not in of_folder:
            continue  # a subset of the classes
        samples.append(Sample(f"{lists.name}/{name}", _find(root, name), of_folder[folder]))
    if not samples:
        raise DataError(f"{lists} has no image of the classes of {root / 'classes.txt'}")
    places = {f"{lists.name}/{name}": found for name, found in read_places(lists, labels).items()}
    return replace(
        first,
        name="cub_v2",
        splits={**first.splits, _FULLSUP: tuple(samples)},
        annotated=True,
        annotate=partial(_annotate, root, places, first),
    )


def _find(root: Path, name: str) -> Path:
    places = [inside(root / folder, name) for folder in ("images", "CUBV2", "CUBV2/images", "dataset/CUB")]
    return next((path for path in places if path.is_file()), places[0])


def _annotate(root: Path, places: Places, first: DataSource, sample: Sample) -> Annotation | None:
    return annotate_place(root, places, sample) if sample.image_id in places else first.annotate(sample)
