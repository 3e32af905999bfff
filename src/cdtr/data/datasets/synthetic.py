"""A synthetic data set that is drawn, not downloaded: eight surface patterns on random shapes in clutter.

``ROOT/train|val/CLASS/NUMBER.jpg``, masks in ``ROOT/masks`` under the same names, boxes in ``annotations.json`` (image
id to half-open pixels, tight around what is visible), and ``synthetic.json`` with the parameters. That file is written
last: without it the generation was cut short, and ``generate`` starts again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cdtr.cores import core_count
from cdtr.data.drawing import PATTERN_NAMES, draw_image
from cdtr.errors import DataError
from cdtr.files import full_disk_named
from cdtr.formats.masks import tight_box
from cdtr.image_files.paths import inside
from cdtr.json_tree import parse_json
from cdtr.records import Annotation, DataSource, Sample

_MARKER = "synthetic.json"
_UNFINISHED = "synthetic.unfinished.json"
_VERSION = 1  # of the drawing: another version draws other images from the same seed
_SPLITS = ("train", "val")


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return (root / _MARKER).is_file() or (root / _UNFINISHED).is_file()


def load(root: Path) -> DataSource:
    """Index a generated set; DataError if it is damaged."""
    if not (root / _MARKER).is_file():
        raise DataError(f"{root} has no {_MARKER}: the synthetic set was never finished, generate it again")
    boxes = _read_json(root / "annotations.json")
    splits: dict[str, tuple[Sample, ...]] = {}
    for split in _SPLITS:
        ids = [image_id for image_id in boxes if image_id.startswith(f"{split}/")]
        splits[split] = tuple(Sample(i, inside(root, i), _label_of(root, i)) for i in ids)
    return DataSource(
        name="synthetic",
        root=root,
        class_names=PATTERN_NAMES,
        splits=splits,
        annotated=True,
        annotate=partial(_annotate, root, boxes),
    )


def generate(
    root: str | Path,
    n_train: int = 3200,
    n_val: int = 800,
    size: int = 112,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DataSource:
    """Draw the set into ``root`` and load it; a set with the same parameters that is there already is kept.

    Each image depends on the seed and its number alone. ``progress`` gets the number of images drawn and of all.
    Raises DataError for a folder that holds anything else, and for sizes that cannot be drawn.
    """
    root = Path(root)
    if size < 32 or n_train < len(PATTERN_NAMES) or n_val < 0:
        raise DataError(
            f"n_train = {n_train}, n_val = {n_val}, size = {size}: expected at least {len(PATTERN_NAMES)} training "
            "images, 0 validation images and 32 pixels"
        )
    settings = {"version": _VERSION, "n_train": n_train, "n_val": n_val, "size": size, "seed": seed}
    if _is_there(root, settings):
        return load(root)
    _clear(root)
    _write_json(root / _UNFINISHED, settings)
    with full_disk_named(root / "annotations.json"):
        boxes = _draw_all(root, {"train": n_train, "val": n_val}, size, seed, progress)
        _write_json(root / "annotations.json", boxes)
    (root / _UNFINISHED).replace(root / _MARKER)
    return load(root)


def _is_there(root: Path, settings: dict[str, int]) -> bool:
    if not (root / _MARKER).is_file():
        return False
    found = _read_json(root / _MARKER)
    if found != settings:
        raise DataError(f"{root} holds another synthetic set ({found}): choose another folder, or delete it first")
    return True


def _clear(root: Path) -> None:
    """Make the folder ready; only what an unfinished generation left behind is removed."""
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file: expected a folder for the synthetic set")
    root.mkdir(parents=True, exist_ok=True)
    if not (root / _UNFINISHED).is_file() and any(root.iterdir()):
        raise DataError(f"{root} holds other files: choose an empty or a new folder for the synthetic set")
    for name in (*_SPLITS, "masks"):
        shutil.rmtree(root / name, ignore_errors=True)


def _draw_all(
    root: Path, counts: dict[str, int], size: int, seed: int, progress: Callable[[int, int], None] | None
) -> dict[str, list[tuple[int, ...]]]:
    for split in _SPLITS:
        for name in PATTERN_NAMES:
            (root / split / name).mkdir(parents=True, exist_ok=True)
            (root / "masks" / split / name).mkdir(parents=True, exist_ok=True)
    jobs = [(split, index) for split in _SPLITS for index in range(counts[split])]
    boxes: dict[str, list[tuple[int, ...]]] = {}
    # Threads do: nearly all the time goes to numpy, OpenCV and Pillow, which let go of the interpreter.
    with ThreadPoolExecutor(core_count()) as pool:
        for image_id, box in pool.map(lambda job: _draw_one(root, job[0], job[1], size, seed), jobs):
            boxes[image_id] = [box]
            if progress is not None:
                progress(len(boxes), len(jobs))
    return boxes


def _draw_one(root: Path, split: str, index: int, size: int, seed: int) -> tuple[str, tuple[int, ...]]:
    label = index % len(PATTERN_NAMES)
    random = np.random.default_rng([seed, _SPLITS.index(split), index])
    drawn = draw_image(label, size, random)
    image_id = f"{split}/{PATTERN_NAMES[label]}/{index:05d}.jpg"
    Image.fromarray(drawn.image).save(root / image_id, quality=95)
    Image.fromarray(drawn.mask.astype(np.uint8) * 255).save(_mask_path(root, image_id))
    return image_id, tight_box(drawn.mask)


def _mask_path(root: Path, image_id: str) -> Path:
    return (root / "masks" / image_id).with_suffix(".png")


def _label_of(root: Path, image_id: str) -> int:
    name = Path(image_id).parent.name
    if name not in PATTERN_NAMES:
        raise DataError(f"{root}: {image_id!r} is of none of the classes {', '.join(PATTERN_NAMES)}: generate it again")
    return PATTERN_NAMES.index(name)


def _annotate(root: Path, boxes: dict[str, Any], sample: Sample) -> Annotation | None:
    if sample.image_id not in boxes:
        return None
    try:
        with Image.open(_mask_path(root, sample.image_id), formats=("PNG",)) as file:
            mask = (np.asarray(file.convert("L")) > 127).astype(np.uint8)
    except OSError as error:
        raise DataError(f"the mask of {sample.image_id} cannot be read ({error}): generate the set again") from error
    return Annotation(np.array(boxes[sample.image_id], dtype=np.float64).reshape(-1, 4), mask)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): generate the synthetic set again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object: generate the synthetic set again")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
