"""Data sets of uneven classes, most of whose images are of good parts, built from what is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from cdtr.data.datasets import load_source
from cdtr.records import Sample

GOOD = "good"
_SIDE, _MARGIN = 80, 2  # pixels of a clean crop, and between it and any box
_BRIGHTNESS = {GOOD: 60, "crack": 130, "hole": 200}


def write_synthetic(root: Path, images: Mapping[str, int], told_apart: bool = True, size: int = 40) -> Path:
    """Write ROOT/CLASS/N.png: noise around the brightness of the class, or around one brightness for all.

    Args:
        root: The folder to make.
        images: By class, of ``good``, ``crack`` and ``hole``.
        told_apart: Whether an image says of which class it is.
        size: Height and width in pixels.
    """
    for label, (name, count) in enumerate(images.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            mean = _BRIGHTNESS[name if told_apart else GOOD]
            pixels = np.random.default_rng([label, number]).normal(mean, 20, (size, size, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / name / f"{number}.png")
    return root


def write_neu_det(neu_det: Path, root: Path, defects: Mapping[str, Mapping[str, int]], share: float = 0.7) -> Path:
    """Write ROOT/train|val/CLASS with images of NEU-DET, clean steel as ``good``, and ROOT/boxes.csv.

    Clean steel is a square of an image outside every box, of any class, continued by its reflections to the size of an
    image: same grain, no blur. No image gives both a defect and clean steel.

    Args:
        neu_det: The original set.
        root: The folder to make.
        defects: By split the number of images of each kind of defect.
        share: Of the images of a split, that are good.

    Raises:
        ValueError: For more good images than NEU-DET has clean steel for.
    """
    source = load_source(neu_det)
    boxes: list[str] = []
    for split, wanted in defects.items():
        left: list[Sample] = []
        taken = dict.fromkeys(wanted, 0)
        for sample in source.splits[split]:
            name = source.class_names[sample.label]
            if taken.get(name, 0) == wanted.get(name, 0):
                left.append(sample)
                continue
            taken[name] += 1
            target = root / split / name / sample.path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(sample.path.read_bytes())
            found = source.annotate(sample)
            for box in [] if found is None else found.boxes_xyxy.tolist():
                boxes.append(",".join([target.relative_to(root).as_posix(), *map(str, box), name]))
        good = round(share / (1 - share) * sum(wanted.values()))
        _write_clean(neu_det, left, root / split / GOOD, good)
    header = "image,x_min,y_min,x_max,y_max,label"
    (root / "boxes.csv").write_text("\n".join([header, *boxes]) + "\n")
    return root


def _write_clean(neu_det: Path, samples: list[Sample], folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    written = 0
    # Neighbours in the list are of one class, whose steel looks alike.
    for index in np.random.default_rng(0).permutation(len(samples)):
        if written == count:
            return
        sample = samples[index]
        pixels = np.asarray(Image.open(sample.path).convert("L"))
        corner = _clean_corner(neu_det / "ANNOTATIONS" / f"{sample.path.stem}.xml", pixels.shape)
        if corner is not None:
            y, x = corner
            reach = [(0, side - _SIDE) for side in pixels.shape]
            clean = np.pad(pixels[y : y + _SIDE, x : x + _SIDE], reach, mode="symmetric")
            Image.fromarray(clean).save(folder / f"{sample.path.stem}.png")
            written += 1
    if written < count:
        raise ValueError(f"clean steel for {written} good images, expected {count}: take fewer defects")


def _clean_corner(xml: Path, size_hw: tuple[int, ...]) -> tuple[int, int] | None:
    """Top and left of the first free square, over the boxes of all classes."""
    busy = np.zeros(size_hw, dtype=int)
    for box in ElementTree.parse(xml).iter("bndbox"):
        x0, y0, x1, y1 = (int(float(box.findtext(key, "0"))) for key in ("xmin", "ymin", "xmax", "ymax"))
        busy[max(y0 - 1 - _MARGIN, 0) : y1 + _MARGIN, max(x0 - 1 - _MARGIN, 0) : x1 + _MARGIN] = 1
    sums = np.pad(busy.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = sums[_SIDE:, _SIDE:] - sums[:-_SIDE, _SIDE:] - sums[_SIDE:, :-_SIDE] + sums[:-_SIDE, :-_SIDE]
    free = np.argwhere(inside == 0)
    return (int(free[0][0]), int(free[0][1])) if len(free) else None
