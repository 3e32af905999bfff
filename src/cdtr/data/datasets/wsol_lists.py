"""The metadata lists of the public WSOL benchmark (Choe et al. 2020), read as they are.

A folder with the lists of ``annotations/wsol.py``; or sub-folders ``train``, ``val``, ``test`` and so on that hold
them, each a split. The images lie below the root or its ``images``; to score maps they need not be there.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cdtr.errors import DataError
from cdtr.formats.wsol import LABEL_LISTS, annotate_place, read_lists, size_reader
from cdtr.image_files.paths import inside, read_lines
from cdtr.records import DataSource, Sample

_SPLITS = {"train": "train", "train-weaksup": "train", "train-fullsup": "train-fullsup", "val": "val", "test": "test"}
LAYOUT = (
    f"a folder of the WSOL benchmark's lists: expected {' and '.join(LABEL_LISTS)} in it, or in train, val or test "
    "below it"
)


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return bool(_split_folders(root))


def load(root: Path) -> DataSource:
    """Index the WSOL benchmark's lists; DataError if it is damaged."""
    folders = _split_folders(root)
    labels, places, sizes = read_lists(folders)
    n_classes = 1 + max(label for found in labels.values() for label in found.values())
    names = tuple(read_lines(root / "class_names.txt")) if (root / "class_names.txt").is_file() else ()
    if names and len(names) < n_classes:
        raise DataError(f"{root / 'class_names.txt'} has {len(names)} names, the labels go up to {n_classes - 1}")
    return DataSource(
        name="wsol_lists",
        root=root,
        class_names=names or tuple(f"class {label}" for label in range(n_classes)),
        splits={
            split: tuple(Sample(image_id, _find_image(root, image_id), label) for image_id, label in found.items())
            for split, found in labels.items()
        },
        annotated=bool(places),
        annotate=partial(annotate_place, root, places, sizes=sizes),
        size_hw=size_reader(sizes),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    if all((root / name).is_file() for name in LABEL_LISTS):
        return {"test": root}
    found = {_SPLITS[name]: root / name for name in _SPLITS}
    return {split: folder for split, folder in found.items() if all((folder / name).is_file() for name in LABEL_LISTS)}


def _find_image(root: Path, image_id: str) -> Path:
    candidates = [inside(root, image_id), inside(root, f"images/{image_id}")]
    return next((path for path in candidates if path.is_file()), candidates[0])
