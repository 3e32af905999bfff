"""Anybody's boxes from a COCO file, by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdtr.errors import DataError
from cdtr.evaluation.measure import ScoredBox
from cdtr.image_names import NameIndex
from cdtr.json_tree import entries, field, identifier, load_json, numbers
from cdtr.records import Sample


def read_coco_boxes(
    path: Path, samples: Sequence[Sample], class_names: Sequence[str], images_file: Path | None = None
) -> dict[str, list[ScoredBox]]:
    """Boxes by image id; an image without one is left out, boxes of other images are passed over.

    path: a COCO results file, a list of ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score``; or
    a detection file with ``images``, ``categories`` and ``annotations`` that have a score. images_file: the file
    whose ``images`` and ``categories`` the numbers of a results file stand for; without it an ``image_id`` has to be
    the image's file name, and ``category_id`` 1 is the first class. A file name meets an image as ``NameIndex``
    says. DataError names what does not fit.
    """
    tree = load_json(path, "JSON")
    results, index = (tree, {}) if isinstance(tree, list) else (_annotations(tree), tree)
    if images_file is not None:
        index = load_json(images_file, "JSON")
    if not isinstance(results, list) or not isinstance(index, dict):
        raise DataError(f"{path} is no list of COCO results and has no annotations: expected one of the two")
    origin = images_file or path
    files = _by_number(index, "images", "file_name", origin)
    labels = _labels(index, class_names, origin)
    known = NameIndex(sample.image_id for sample in samples)
    found: dict[str, list[ScoredBox]] = {}
    met = 0
    for number, result in enumerate(results):
        where = f"{path}, result {number}"
        image = identifier(result, "image_id", where)
        name = files.get(image) if files else image
        if name is None:
            raise DataError(f"{where}: image_id {image:.60} is not in the images of the file")
        image_id = _find(known, str(name), where)
        if image_id is None:
            continue
        met += 1
        category = identifier(result, "category_id", where)
        if category not in labels:
            raise DataError(f"{where}: category_id {category:.60}, expected one of {', '.join(map(str, labels))}")
        found.setdefault(image_id, []).append(_box(result, labels[category], where))
    if not met:
        raise DataError(
            f"{path} has {len(results)} boxes, none of them of the {len(samples)} images, such as "
            f"{samples[0].image_id}: expected their file names, or numbers with --coco-images FILE"
        )
    return found


def _annotations(tree: Any) -> Any:
    return tree.get("annotations") if isinstance(tree, dict) else None


def _by_number(index: Mapping[str, Any], section: str, key: str, path: Path) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for number, entry in enumerate(entries(index, section, str(path)) if index.get(section) else ()):
        where = f"{path}, {section}[{number}]"
        names[identifier(entry, "id", where)] = str(field(entry, key, (int, str), where))
    return names


def _labels(index: Mapping[str, Any], class_names: Sequence[str], path: Path) -> dict[Any, int]:
    """The class of each category number: by name where the file has categories, else counted from 1."""
    categories = _by_number(index, "categories", "name", path)
    if not categories:
        return {str(number): label for label, number in enumerate(range(1, len(class_names) + 1))}
    of_name = {name: label for label, name in enumerate(class_names)}
    strange = [name for name in categories.values() if name not in of_name]
    if strange:
        raise DataError(f"{path} has the category {strange[0]!r}: expected names of the data's classes")
    return {number: of_name[name] for number, name in categories.items()}


def _find(known: NameIndex, name: str, where: str) -> str | None:
    matches = known.find(name)
    if len(matches) > 1:
        raise DataError(f"{where}: {name!r} may be {matches[0]} or {matches[1]}, give more of the path")
    return matches[0] if matches else None


def _box(result: Mapping[str, Any], label: int, where: str) -> ScoredBox:
    *box, score = numbers([*entries(result, "bbox", where), result.get("score")], f"{where}: bbox and score")
    if len(box) != 4 or min(box[2:]) < 0:
        raise DataError(f"{where}: bbox {box!r:.80}, expected x, y, width and height, and no negative size")
    x, y, width, height = box
    return ScoredBox(label, score, (x, y, x + width, y + height))
