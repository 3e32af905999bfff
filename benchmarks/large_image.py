"""What `cdtr localize --tiles` finds in large images of NEU-DET's defects on clean steel, beside its crops one by one.

    python benchmarks/large_image.py runs/neu NEU-DET --out large --images 4

Each image is drawn: clean steel from the places of the validation images that no box touches, and on it defects of the
validation images, at random places, with a soft edge and the steel's brightness. All their boxes are known. ``tiles``
is the command itself on the whole image; ``crops`` is what somebody would do by hand who knew where to look: a window
of the training images' size around each defect, each localized as an image, its largest box alone (``crops``) or all
of its boxes (``crops_multi``). ``whole`` is the image without tiles. Recall is the share of the defects that a box
meets at IoU 0.5; precision the share of the boxes that meet a defect. ``peak_mb`` is the highest resident memory of the
command's process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from cdtr.api import Localizer
from cdtr.data.datasets import load_source
from cdtr.image_files.reading import read_image
from cdtr.localization.boxes import iou_half_open
from cdtr.records import DataSource
from harness import machine_facts, show

PATCH = 64  # side of the pieces of clean steel
EDGE = 10  # pixels around a defect over which it fades into the steel
GAP = 60  # least distance of two defects
LARGEST = 170  # of a defect's side: larger ones fill their images

Grey = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.float64]


class Defect(NamedTuple):
    """A defect with the steel around it, and its box (4,) in it."""

    pixels: Grey
    box: Boxes
    label: int


class Drawn(NamedTuple):
    """A large image, the boxes (N, 4) of its defects, and their classes."""

    pixels: npt.NDArray[np.uint8]
    boxes: Boxes
    labels: list[int]


def read_parts(source: DataSource, split: str) -> tuple[list[Grey], list[Defect]]:
    """Pieces of clean steel, and defects that stand alone, of a split with boxes."""
    patches, defects = [], []
    for sample in source.splits[split]:
        annotation = source.annotate(sample)
        if annotation is None or not len(annotation.boxes_xyxy):
            continue
        grey = np.asarray(read_image(sample.path, 10**8).convert("L"), dtype=np.float32)
        boxes = np.asarray(annotation.boxes_xyxy, dtype=np.float64)
        patches += _clean_patches(grey, boxes)
        for index, box in enumerate(boxes):
            others = np.delete(boxes, index, axis=0)
            found = _defect(grey, box, others, sample.label)
            if found is not None:
                defects.append(found)
    calm = sorted(patches, key=lambda patch: float(np.ptp(patch)))  # some hold defects that nobody drew a box around
    return calm[: max(len(calm) // 3, 1)], defects


def _clean_patches(grey: Grey, boxes: Boxes) -> list[Grey]:
    """Windows of an image that lie 8 pixels or more from every box, side by side."""
    height, width = grey.shape
    found = []
    for y in range(0, height - PATCH + 1, PATCH // 2):
        for x in range(0, width - PATCH + 1, PATCH // 2):
            window = np.array([[max(x - 8, 0), max(y - 8, 0), x + PATCH + 8, y + PATCH + 8]], dtype=np.float64)
            if not iou_half_open(window, boxes).any():
                found.append(grey[y : y + PATCH, x : x + PATCH])
    return found


def _defect(grey: Grey, box: Boxes, others: Boxes, label: int) -> Defect | None:
    """The defect with an edge around it; None if it is too large, or another one reaches into it."""
    x0, y0, x1, y1 = (int(value) for value in box.round())
    left, top, right, bottom = max(x0 - EDGE, 0), max(y0 - EDGE, 0), x1 + EDGE, y1 + EDGE
    cut = np.array([[left, top, right, bottom]], dtype=np.float64)
    if max(x1 - x0, y1 - y0) > LARGEST or min(x1 - x0, y1 - y0) < EDGE or iou_half_open(cut, others).any():
        return None
    return Defect(grey[top:bottom, left:right], np.array([x0 - left, y0 - top, x1 - left, y1 - top], float), label)


def clean_steel(size_hw: tuple[int, int], patches: Sequence[Grey], random: np.random.Generator) -> Grey:
    """Steel of a size: pieces at random, turned and mirrored, of one brightness, each faded into its neighbours."""
    height, width = size_hw
    ramp = np.sin((np.arange(PATCH) + 0.5) * np.pi / PATCH).astype(np.float32)
    fade = ramp[:, None] * ramp[None]  # its squares sum to 1 over neighbours, which keeps the grain of the steel
    canvas = np.zeros((height + 2 * PATCH, width + 2 * PATCH), dtype=np.float32)
    for y in range(0, canvas.shape[0] - PATCH + 1, PATCH // 2):
        for x in range(0, canvas.shape[1] - PATCH + 1, PATCH // 2):
            piece = patches[random.integers(len(patches))]
            piece = piece[:: random.choice([-1, 1]), :: random.choice([-1, 1])]
            canvas[y : y + PATCH, x : x + PATCH] += fade * (piece - piece.mean())
    return 128 + canvas[PATCH : PATCH + height, PATCH : PATCH + width]


def draw(
    size_hw: tuple[int, int],
    count: int,
    parts: tuple[Sequence[Grey], Sequence[Defect]],
    random: np.random.Generator,
) -> Drawn:
    """Draw steel with so many defects, or as many as found a place."""
    patches, defects = parts
    canvas = clean_steel(size_hw, patches, random)
    boxes, labels, taken = [], [], np.zeros((0, 4))
    for _ in range(20 * count):
        if len(boxes) == count:
            break
        defect = defects[random.integers(len(defects))]
        height, width = defect.pixels.shape
        x, y = int(random.integers(size_hw[1] - width)), int(random.integers(size_hw[0] - height))
        around = np.array([[max(x - GAP, 0), max(y - GAP, 0), x + width + GAP, y + height + GAP]], dtype=np.float64)
        if iou_half_open(around, taken).any():
            continue
        _paste(canvas, defect, x, y)
        taken = np.concatenate([taken, np.array([[x, y, x + width, y + height]], dtype=np.float64)])
        boxes.append(defect.box + np.array([x, y, x, y]))
        labels.append(defect.label)
    return Drawn(canvas.clip(0, 255).round().astype(np.uint8), np.array(boxes), labels)


def _paste(canvas: Grey, defect: Defect, x: int, y: int) -> None:
    """Paste a defect with a soft edge; its surroundings get the brightness of the steel."""
    height, width = defect.pixels.shape
    x0, y0, x1, y1 = (int(value) for value in defect.box)
    outside = np.ones((height, width), dtype=bool)
    outside[y0:y1, x0:x1] = False
    shift = 128 - (defect.pixels[outside] if outside.any() else defect.pixels).mean()
    rows = np.minimum(np.arange(height) + 1, np.arange(height)[::-1] + 1) / EDGE
    columns = np.minimum(np.arange(width) + 1, np.arange(width)[::-1] + 1) / EDGE
    share = np.minimum(np.minimum(rows[:, None], columns[None]), 1).astype(np.float32)
    part = canvas[y : y + height, x : x + width]
    part += share * (defect.pixels + shift - part)


class Found(NamedTuple):
    """Boxes (N, 4) that were found in an image, and their classes."""

    boxes: Boxes
    labels: list[int]


def localize_file(run: str, image: Path, out: Path, options: Sequence[str]) -> tuple[Found, dict[str, float]]:
    """What the command finds in an image, and its seconds and highest resident memory."""
    command = [sys.executable, "-m", "cdtr", "localize", run, str(image), "--out", str(out), "--overwrite", *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit("the command failed: see its line above")
    cost = {"seconds": round(time.perf_counter() - start, 1), "peak_mb": round(usage.ru_maxrss / 1024)}
    content = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    corners = np.array([one["bbox"] for one in content["annotations"]], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    return Found(corners, [one["category_id"] - 1 for one in content["annotations"]]), cost


def localize_crops(localizer: Localizer, drawn: Drawn, side: int, multi: bool) -> Found:
    """What a localizer finds in a window around each defect, in pixels of the large image."""
    image = Image.fromarray(drawn.pixels).convert("RGB")
    corners = []
    for x0, y0, x1, y1 in drawn.boxes:
        left = int(min(max((x0 + x1 - side) / 2, 0), image.width - side))
        top = int(min(max((y0 + y1 - side) / 2, 0), image.height - side))
        corners.append((left, top))
    crops = [image.crop((left, top, left + side, top + side)) for left, top in corners]
    boxes, labels = [np.zeros((0, 4))], []
    for (left, top), one in zip(corners, localizer(crops, multi=multi), strict=True):
        boxes.append(one.boxes_xyxy + np.array([left, top, left, top]))
        labels += one.labels.tolist()
    return Found(np.concatenate(boxes), labels)


def measure(found: Found, drawn: Drawn) -> dict[str, Any]:
    """Counts of the defects and boxes that meet, by which ``summarise`` knows recall and precision."""
    overlap = iou_half_open(drawn.boxes, found.boxes) if len(found.boxes) else np.zeros((len(drawn.boxes), 1))
    met = overlap.max(axis=1) >= 0.5
    best = overlap.argmax(axis=1)
    right = sum(found.labels[best[index]] == drawn.labels[index] for index in np.flatnonzero(met))
    return {
        "defects": len(drawn.boxes),
        "found": int(met.sum()),
        "of_right_class": int(right),
        "boxes": len(found.boxes),
        "meeting": int((overlap.max(axis=0) >= 0.5).sum()) if len(found.boxes) else 0,
    }


def summarise(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Recall and precision in percent over all images, and the highest cost."""
    total = {key: sum(row[key] for row in rows) for key in ("defects", "found", "of_right_class", "boxes", "meeting")}
    shares = {
        "recall": round(100 * total["found"] / max(total["defects"], 1), 1),
        "precision": round(100 * total["meeting"] / max(total["boxes"], 1), 1),
    }
    return total | shares | {key: max(row[key] for row in rows) for key in ("seconds", "peak_mb") if key in rows[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run trained on NEU-DET")
    parser.add_argument("data", help="NEU-DET")
    parser.add_argument("--out", type=Path, required=True, help="folder for the images and what was found in them")
    parser.add_argument("--split", default="val", help="where steel and defects come from (default: %(default)s)")
    parser.add_argument("--size", default="4000x3000", help="width and height (default: %(default)s)")
    parser.add_argument("--defects", type=int, default=60, help="of an image (default: %(default)s)")
    parser.add_argument("--images", type=int, default=1, help="images to draw (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first image (default: %(default)s)")
    parser.add_argument("--tiles", default="auto", help="of the command (default: %(default)s)")
    parser.add_argument("--side", type=int, default=200, help="of the crops, in pixels (default: %(default)s)")
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split("x"))
    parts, localizer = read_parts(load_source(args.data), args.split), Localizer.from_pretrained(args.run)
    args.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(args.seed, args.seed + args.images):
        drawn = draw((height, width), args.defects, parts, np.random.default_rng(seed))
        path = args.out / f"steel-{args.size}-{seed}.png"
        Image.fromarray(drawn.pixels).save(path)
        for name, options in {"whole": ["--multi"], "tiles": ["--tiles", args.tiles, "--overlays"]}.items():
            found, cost = localize_file(args.run, path, args.out / f"{path.stem}-{name}", options)
            rows.setdefault(name, []).append(measure(found, drawn) | cost)
        for name, multi in {"crops": False, "crops_multi": True}.items():
            crops = localize_crops(localizer, drawn, args.side, multi)
            rows.setdefault(name, []).append(measure(crops, drawn))
    show({name: summarise(some) for name, some in rows.items()} | {"machine": machine_facts()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
