"""COCO results: the plain list of scored boxes that COCO's evaluator takes, with the numbers of ``coco.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdtr.errors import DataError
from cdtr.formats._lists import open_json_list
from cdtr.formats._target import Add, Target, boxes_of
from cdtr.formats.coco import names_by_id, xywh
from cdtr.image_names import NameIndex
from cdtr.json_tree import entries, identifier, load_json, numbers
from cdtr.records import Box, Localization

FILE_NAME = "coco_results.json"


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write a result for each box. Images count from 1 in their order, as in the file of the format coco."""
    image_id = 0
    with open_json_list(target.path) as append:

        def add(localization: Localization) -> None:
            nonlocal image_id
            image_id += 1
            for box in boxes_of(localization, target.class_names):
                numbered = {"image_id": image_id, "category_id": box.label + 1}
                append(json.dumps({**numbered, "bbox": xywh(box), "score": box.score}))

        yield add


def read_results(
    path: Path, image_ids: Iterable[str], class_names: Sequence[str], images_file: Path | None = None
) -> dict[str, list[Box]]:
    """Read scored boxes of any program.

    Args:
        path: A COCO results file, a list of ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and
            ``score``; or a detection file with ``images``, ``categories`` and ``annotations`` that have a score.
        image_ids: The images that boxes are wanted of. A file name means one of them as ``NameIndex`` says.
        class_names: The classes in the order of their indices.
        images_file: The file whose ``images`` and ``categories`` the numbers of a results file stand for. Without it
            an ``image_id`` has to be the image's file name, and ``category_id`` 1 is the first class.

    Returns:
        Boxes with label and score by image id; an image without a box is left out, as are boxes of other images.

    Raises:
        DataError: The file cannot be used; the message names the entry that does not fit.
    """
    image_ids = tuple(image_ids)
    tree = load_json(path, "JSON")
    results, index = (tree, {}) if isinstance(tree, list) else (_annotations(tree), tree)
    if images_file is not None:
        index = load_json(images_file, "JSON")
    if not isinstance(results, list) or not isinstance(index, dict):
        raise DataError(f"{path} is no list of COCO results and has no annotations: expected one of the two")
    origin = images_file or path
    files = names_by_id(index, "images", "file_name", origin, (int, str))
    labels = _labels(index, class_names, origin)
    known = NameIndex(image_ids)
    found: dict[str, list[Box]] = {}
    for number, result in enumerate(results):
        where = f"{path}, result {number}"
        image = identifier(result, "image_id", where)
        name = files.get(image) if files else image
        if name is None:
            raise DataError(f"{where}: image_id {image:.60} is not in the images of the file")
        image_id = known.find_one(name, where)
        if image_id is not None:
            found.setdefault(image_id, []).append(_box(result, labels, class_names, where))
    if not found:
        raise DataError(
            f"{path} has {len(results)} boxes, none of them of the {len(image_ids)} images, such as "
            f"{image_ids[0]}: expected their file names, or numbers with `coco_images=FILE`"
        )
    return found


def _annotations(tree: Any) -> Any:
    return tree.get("annotations") if isinstance(tree, dict) else None


def _labels(index: Mapping[str, Any], class_names: Sequence[str], path: Path) -> dict[str, int]:
    """The class of each category number: by name where the file has categories, else counted from 1."""
    categories = names_by_id(index, "categories", "name", path, (int, str))
    if not categories:
        return {str(number): label for label, number in enumerate(range(1, len(class_names) + 1))}
    of_name = {name: label for label, name in enumerate(class_names)}
    strange = [name for name in categories.values() if name not in of_name]
    if strange:
        raise DataError(f"{path} has the category {strange[0]!r}: expected names of the data's classes")
    return {number: of_name[name] for number, name in categories.items()}


def _box(result: Mapping[str, Any], labels: Mapping[str, int], class_names: Sequence[str], where: str) -> Box:
    category = identifier(result, "category_id", where)
    if category not in labels:
        raise DataError(f"{where}: category_id {category:.60}, expected one of {', '.join(labels)}")
    *box, score = numbers([*entries(result, "bbox", where), result.get("score")], f"{where}: bbox and score")
    if len(box) != 4 or min(box[2:]) < 0:
        raise DataError(f"{where}: bbox {box!r:.80}, expected x, y, width and height, and no negative size")
    x, y, width, height = box
    return Box(class_names[labels[category]], (x, y, x + width, y + height), label=labels[category], score=score)
