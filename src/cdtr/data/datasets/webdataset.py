"""Tar shards as WebDataset has them: ``train-000000.tar``, ``val-000000.tar``, ... and ``classes.txt``.

A sample is the members of one key: an image (``.jpg``, ...), its class in ``.cls`` (a number or a name) or in ``.json``
(``label`` or ``class``), and if wanted boxes (``boxes_xyxy`` in the JSON) and a mask (``.mask.png``: 1 object, 255
ignore). Shards of other names than a split's are training. `cdtr data shards` writes such a set, with ``shards.json``,
an index that saves reading all tar files to list them; a shard that it does not know, or of another size, is read.

The shards are files: on a disk, or on a mounted network share. Training reads them in a row (``cdtr.data.stream``),
everything else jumps to the image it wants. Nothing is unpacked.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from cdtr.errors import DataError
from cdtr.image_files.paths import is_inside, natural_key, read_lines
from cdtr.image_files.reading import FORMATS, IMAGE_SUFFIXES, refuse_many_scans
from cdtr.image_files.tar_members import member_names, open_file
from cdtr.json_tree import parse_json
from cdtr.records import Annotation, DataSource, Sample

INDEX_FILE, CLASSES_FILE, MASK_SUFFIX = "shards.json", "classes.txt", ".mask.png"
_NAME = re.compile(r"(.+)-(\d+)\.tar")
_MIN_DIGITS = 4  # writers of shards pad their numbers to at least 4 digits
_SPLITS = {
    "train-fullsup": "train-fullsup",
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_SPLIT = re.compile(rf"(?:.*[-_.])?({'|'.join(_SPLITS)})")
_MAX_MASK_PIXELS = 100_000_000
_MOST_CLASSES = 10**6
_MAX_TEXT = 10_000_000  # bytes of a .cls or .json member


class Entry(NamedTuple):
    """An image of a shard: the member's name, its class, and the name of the image."""

    member: str
    label: int
    image_id: str


def recognises(root: Path) -> bool:
    """Look for an index, or names that only shards have: class folders may have other archives beside them."""
    return (root / INDEX_FILE).is_file() or any(_has_name_of_a_shard(path) for path in _shards(root))


def _has_name_of_a_shard(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    return match is not None and (len(match[2]) >= _MIN_DIGITS or _SPLIT.fullmatch(match[1].casefold()) is not None)


def load(root: Path) -> DataSource:
    """Index tar shards; DataError if it is damaged."""
    shards = _shards(root)
    if not shards:
        raise DataError(f"{root} has no shards: expected tar files such as train-000000.tar")
    _warn_of_others(root, shards)
    listed = read_lines(root / CLASSES_FILE, strip=False) if (root / CLASSES_FILE).is_file() else []
    if len(set(listed)) < len(listed):
        raise DataError(f"{root / CLASSES_FILE} has a class twice: keep one line a class")
    index, annotated = _read_index(root)
    splits: dict[str, list[Sample]] = {}
    highest = -1
    for shard in shards:
        entries = index.get(shard.name, {}).get(shard.stat().st_size)
        if entries is None:
            entries = list(_scan(shard, listed))
            annotated = annotated or _has_boxes(shard, entries)
        samples = splits.setdefault(split_of(shard), [])
        samples += [Sample(entry.image_id, shard / entry.member, entry.label) for entry in entries]
        highest = max(highest, *(entry.label for entry in entries)) if entries else highest
    if listed and highest >= len(listed):
        raise DataError(f"{root / CLASSES_FILE} has {len(listed)} classes, the shards have the class number {highest}")
    _check_ids(root, splits)
    return DataSource(
        name="webdataset",
        root=root,
        class_names=tuple(listed) or tuple(f"class {label}" for label in range(highest + 1)),
        splits={split: tuple(samples) for split, samples in splits.items()},
        annotated=annotated,
        annotate=_annotate,
    )


def split_of(shard: Path) -> str:
    """Return the split by the text before the number: ``imagenet-train-000000.tar`` is of train."""
    name = _NAME.fullmatch(shard.name)
    split = _SPLIT.fullmatch(name[1].casefold()) if name else None
    return _SPLITS[split[1]] if split else "train"


def _shards(root: Path) -> list[Path]:
    found = [path for path in root.glob("*.tar") if _NAME.fullmatch(path.name) and is_inside(path, root)]
    return sorted(found, key=lambda path: natural_key(path.name))


def _warn_of_others(root: Path, shards: Sequence[Path]) -> None:
    others = sorted(path.name for path in set(root.glob("*.tar")) - set(shards))
    if others:
        warnings.warn(
            f"{root}: {len(others)} tar files are left out, such as {others[0]}: expected files in it, no links out of "
            "it, with names such as train-000000.tar",
            stacklevel=3,
        )


def _read_index(root: Path) -> tuple[dict[str, dict[int, list[Entry]]], bool]:
    """Entries by shard and its size in bytes, and whether the set has boxes."""
    path = root / INDEX_FILE
    if not path.is_file():
        return {}, False
    try:
        tree = parse_json(path.read_text(encoding="utf-8"))
        shards = {
            name: {int(shard["bytes"]): [Entry(str(m), int(label), str(i)) for m, label, i in shard["images"]]}
            for name, shard in tree["shards"].items()
        }
        return shards, bool(tree.get("annotated"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path} is no index of shards ({error}): delete it, and the shards are read instead"
        ) from error


def _scan(shard: Path, classes: Sequence[str]) -> Iterator[Entry]:
    members: dict[str, dict[str, str]] = {}
    for name in member_names(shard):
        key, suffix = _split_key(name)
        members.setdefault(key, {})[suffix] = name
    for key, of_key in members.items():
        image = next((name for suffix, name in of_key.items() if suffix in IMAGE_SUFFIXES), None)
        if image is None:
            continue
        kind = next((suffix for suffix in (".cls", ".json") if suffix in of_key), None)
        if kind is None:
            raise DataError(f"{shard}: {image} has neither {key}.cls nor {key}.json: expected its class in one of them")
        label = _label(_read_text(shard / of_key[kind]), kind, classes, f"{shard}: {of_key[kind]}")
        yield Entry(image, label, f"{shard.stem}/{image}")


def _split_key(name: str) -> tuple[str, str]:
    """Split a member's name at the first dot of its last part, as WebDataset does."""
    path = PurePosixPath(name)
    stem, dot, suffix = path.name.partition(".")
    return path.with_name(stem).as_posix() if stem else name, (dot + suffix).lower()


def _read_text(path: Path) -> str:
    with open_file(path) as file:
        content = file.read(_MAX_TEXT + 1)
    if len(content) > _MAX_TEXT:
        raise DataError(f"{path} has more than {_MAX_TEXT} bytes, too many for a class or boxes")
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: expected text") from error


def _label(text: str, kind: str, classes: Sequence[str], where: str) -> int:
    """Return the label; a number is the index of a class, only a string in JSON may be a name."""
    value: Any = text
    if kind == ".json":
        tree = _parse(text, where)
        value = next((tree[key] for key in ("label", "cls", "class", "class_name") if key in tree), None)
        if isinstance(value, str) and value in classes:
            return classes.index(value)
    if isinstance(value, str) and not value.isdecimal() and value in classes:
        return classes.index(value)
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 9 else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < _MOST_CLASSES:
        raise DataError(f"{where}: class {value!r}, expected a number from 0, or a name of {CLASSES_FILE}")
    return number


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise DataError(f"{where} is no JSON ({error})") from error
    if not isinstance(tree, dict):
        raise DataError(f"{where} is no JSON object: expected keys such as label and boxes_xyxy")
    return tree


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name.partition(".")[0] + suffix)


def _has_boxes(shard: Path, entries: Sequence[Entry]) -> bool:
    """Return whether one of the first images has boxes."""
    return any(_annotate(Sample(e.image_id, shard / e.member, e.label)) is not None for e in entries[:10])


def _annotate(sample: Sample) -> Annotation | None:
    path = _beside(sample.path, ".json")
    try:
        tree = _parse(_read_text(path), str(path))
    except FileNotFoundError:
        return None
    if "boxes_xyxy" not in tree:
        return None
    try:
        boxes = np.array(tree["boxes_xyxy"], dtype=np.float64).reshape(-1, 4)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: boxes_xyxy {str(tree['boxes_xyxy'])[:60]}: expected rows of four numbers") from error
    if not (np.isfinite(boxes).all() and (boxes[:, :2] <= boxes[:, 2:]).all()):
        raise DataError(f"{path}: a box of boxes_xyxy is inverted or not finite")
    return Annotation(boxes, _read_mask(_beside(sample.path, MASK_SUFFIX)))


def _read_mask(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    try:
        with open_file(path) as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > _MAX_MASK_PIXELS:
                raise DataError(f"{path}: mask of {image.width}x{image.height} pixels, too large")
            refuse_many_scans(image, file, path)
            return np.asarray(image.convert("L"))
    except FileNotFoundError:
        return None
    except DataError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise DataError(f"{path}: cannot be read as a mask ({error})") from error


def _check_ids(root: Path, splits: dict[str, list[Sample]]) -> None:
    seen: set[str] = set()
    for samples in splits.values():
        for sample in samples:
            if sample.image_id in seen:
                raise DataError(f"{root}: its shards have {sample.image_id!r} twice: write them again")
            seen.add(sample.image_id)
