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


