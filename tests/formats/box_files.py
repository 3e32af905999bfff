"""The same boxes written in every format that is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Box = tuple[str, tuple[float, float, float, float]]  # class, half-open corners
Boxes = Mapping[str, Sequence[Box]]  # by image id
Sizes = Mapping[str, tuple[int, int]]  # width, height


def write_coco(path: Path, boxes: Boxes, sizes: Sizes) -> Path:
    names = sorted({name for found in boxes.values() for name, _ in found})
    images = [
        {
            "id": n,
            "file_name": name,
            **(dict(zip(("width", "height"), sizes[name], strict=True)) if name in sizes else {}),
        }
        for n, name in enumerate(boxes)
    ]
    entries = [
        {"id": 0, "image_id": n, "category_id": 7 + names.index(name), "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for n, found in enumerate(boxes.values())
        for name, (x0, y0, x1, y1) in found
    ]
    categories = [{"id": 7 + n, "name": name} for n, name in enumerate(names)]
    path.write_text(json.dumps({"images": images, "annotations": entries, "categories": categories}))
    return path


def write_csv(path: Path, boxes: Boxes, sizes: Sizes) -> Path:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["filename", "Class", "xmin", "ymin", "xmax", "ymax"])
    for name, found in boxes.items():
        writer.writerows([[name, kind, *corners] for kind, corners in found] or [[name, "", "", "", "", ""]])
    path.write_text(text.getvalue(), encoding="utf-8-sig")
    return path


def write_voc(path: Path, boxes: Boxes, sizes: Sizes) -> Path:
    for name, found in boxes.items():
        objects = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax>"
            f"<ymax>{y1}</ymax></bndbox></object>"
            for kind, (x0, y0, x1, y1) in found
        )
        file = (path / name).with_suffix(".xml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<annotation>{objects}</annotation>")
    return path


def write_yolo(path: Path, boxes: Boxes, sizes: Sizes) -> Path:
    names = sorted({name for found in boxes.values() for name, _ in found})
    for name, found in boxes.items():
        width, height = sizes[name]
        file = (path / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f"{names.index(kind)} {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} {(x1 - x0) / width} "
            f"{(y1 - y0) / height}\n"
            for kind, (x0, y0, x1, y1) in found
        ]
        file.write_text("".join(lines))
    (path / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return path


def write_wsol(path: Path, boxes: Boxes, sizes: Sizes) -> Path:
    """Without classes, so only of images whose boxes are all their own."""
    lines = [f"{name},{','.join(map(str, corners))}\n" for name, found in boxes.items() for _, corners in found]
    path.write_text("".join(lines))
    return path


# Where each format is found without being named, and what writes it.
USUAL: dict[str, tuple[str, Callable[[Path, Boxes, Sizes], Path]]] = {
    "coco": ("annotations.json", write_coco),
    "csv": ("boxes.csv", write_csv),
    "voc": ("Annotations", write_voc),
    "yolo": ("labels", write_yolo),
    "wsol": ("localization.txt", write_wsol),
}
