"""Images with ground truth: one patterned object on clutter, with its mask. The class is the pattern.

Everything is drawn at twice the size and averaged down, which smooths the edges. Canvases are (H, W, 3) float32 RGB in
[0, 255], shapes are (H, W) bool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cdtr.records import FloatArray, UInt8Array

Shape = npt.NDArray[np.bool_]
Weight = npt.NDArray[Any]  # how much of the second colour, 0 to 1; bool where there are only two tones
Random = np.random.Generator

_OVERSAMPLING = 2
_KINDS = ("blob", "ellipse", "polygon", "star")
_COMPANION_SHARE = 0.8  # how often a class's distractors have the silhouette that goes with it
_MOST_COVERED = 0.06  # share of the object that one distractor may hide


@dataclass(frozen=True, slots=True)
class DrawnImage:
    """image: (H, W, 3) uint8 RGB. mask: (H, W) bool, the visible object."""

    image: UInt8Array
    mask: Shape


def draw_image(label: int, size: int, random: Random) -> DrawnImage:
    """A square image of side ``size`` whose object has the pattern ``PATTERN_NAMES[label]``."""
    side = size * _OVERSAMPLING
    canvas = _background(side, random)
    _scatter_strokes(canvas, random)
    radius = random.uniform(0.22, 0.38) * side
    centre = random.uniform(radius + 2, side - radius - 2, size=2)
    visible = _silhouette(str(random.choice(_KINDS)), centre, radius, side, random)
    shown = _patterned(label, centre, side, random)
    shown *= _shading(side, random)[..., None]
    canvas[visible] = shown[visible]
    _add_distractors(canvas, visible, label, random)
    image = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    image += np.asarray(random.normal(0, 3, image.shape), dtype=np.float32)
    share = cv2.resize(visible.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    return DrawnImage(np.clip(image, 0, 255).astype(np.uint8), share >= 0.5)


def _colour(random: Random) -> FloatArray:
    return np.asarray(random.uniform(20, 235, size=3), dtype=np.float32)


def _colour_pair(random: Random) -> tuple[FloatArray, FloatArray]:
    """Two colours that tell a pattern at a glance: far apart in brightness."""
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    while True:
        first, second = _colour(random), _colour(random)
        if abs(float((first - second) @ weights)) > 75:
            return first, second


def _smooth_noise(side: int, cells: int, random: Random) -> FloatArray:
    """(side, side) in [0, 1]."""
    coarse = random.random((cells, cells)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)


def _background(side: int, random: Random) -> FloatArray:
    canvas = np.empty((side, side, 3), dtype=np.float32)
    canvas[:] = _colour(random)
    for cells in (4, 9):
        weight = _smooth_noise(side, cells, random)[..., None]
        canvas += weight * (_colour(random) - canvas)
    return canvas


def _scatter_strokes(canvas: FloatArray, random: Random) -> None:
    """Random curves, and short parallel hatches that look a little like a pattern."""
    side = canvas.shape[0]
    for _ in range(random.integers(5, 10)):
        points = random.uniform(0, side, size=(4, 2))
        at = np.linspace(0, 1, 24)[:, None]
        curve = sum(
            factor * point
            for factor, point in zip(
                ((1 - at) ** 3, 3 * at * (1 - at) ** 2, 3 * at**2 * (1 - at), at**3), points, strict=True
            )
        )
        _stroke(canvas, np.asarray(curve), int(random.integers(2, 7)), random)
    for _ in range(random.integers(2, 5)):
        start, step = random.uniform(0, side, size=2), random.uniform(-10, 10, size=2)
        along = random.uniform(-0.12, 0.12, size=2) * side
        width, state = int(random.integers(2, 5)), random.integers(2**31)
        for i in range(random.integers(2, 5)):
            line = np.stack([start + i * step, start + i * step + along])
            _stroke(canvas, line, width, np.random.default_rng(state))  # one colour a hatch


def _stroke(canvas: FloatArray, points: FloatArray, width: int, random: Random) -> None:
    cv2.polylines(canvas, [np.round(points).astype(np.int32)], False, _colour(random).tolist(), width)


def _silhouette(kind: str, centre: FloatArray, radius: float, side: int, random: Random) -> Shape:
    """A filled outline within ``radius`` of the centre, touching that circle."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    if kind == "blob":
        waves = [random.uniform(0, 0.16) * np.cos(k * angles + random.uniform(0, 7)) for k in (2, 3, 4, 5)]
        reach = 1 + np.sum(waves, axis=0)
    elif kind == "ellipse":
        reach = 1 / np.hypot(np.cos(angles), np.sin(angles) / random.uniform(0.5, 0.9))
    elif kind == "polygon":
        angles = np.linspace(0, 2 * np.pi, random.integers(3, 7), endpoint=False)
        reach = random.uniform(0.8, 1, size=angles.size)
    else:
        spikes = int(random.integers(5, 8))
        angles = np.linspace(0, 2 * np.pi, 2 * spikes, endpoint=False)
        reach = np.where(np.arange(2 * spikes) % 2, random.uniform(0.5, 0.65), 1.0)
    angles = angles + random.uniform(0, 2 * np.pi)
    reach = reach / reach.max() * radius
    outline = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * reach[:, None]
    filled = np.zeros((side, side), dtype=np.uint8)
    cv2.fillPoly(filled, [np.round(outline).astype(np.int32)], 1)
    return filled.astype(bool)


def _patterned(label: int, centre: FloatArray, side: int, random: Random) -> FloatArray:
    """A canvas full of the pattern in two random colours, turned and scaled at random."""
    dark, light = _colour_pair(random)
    turn, period = random.uniform(0, 2 * np.pi), random.uniform(0.10, 0.15) * side
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    x, y = (x - centre[0]) / period, (y - centre[1]) / period
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    weight = np.asarray(_PATTERNS[PATTERN_NAMES[label]](u, v), dtype=np.float32)[..., None]
    pattern: FloatArray = dark + weight * (light - dark)
    return pattern


def _shading(side: int, random: Random) -> FloatArray:
    shading: FloatArray = np.float32(0.8) + np.float32(0.3) * _smooth_noise(side, 3, random)
    return shading


def _add_distractors(canvas: FloatArray, visible: Shape, label: int, random: Random) -> None:
    """Draw two plain shapes over the image, and take away from ``visible`` what little they hide of the object."""
    side = canvas.shape[0]
    area = visible.sum()
    for _ in range(2):
        kind = _KINDS[label % len(_KINDS)] if random.random() < _COMPANION_SHARE else str(random.choice(_KINDS))
        colour = _colour(random)
        shading = _shading(side, random)
        for shrink in np.linspace(1, 0.4, 12):
            radius = random.uniform(0.12, 0.2) * side * shrink
            centre = random.uniform(radius, side - radius, size=2)
            shape = _silhouette(kind, centre, radius, side, random)
            if (shape & visible).sum() <= _MOST_COVERED * area:
                canvas[shape] = colour * shading[shape][:, None]
                visible &= ~shape
                break


def _stripes(u: FloatArray, v: FloatArray) -> Weight:
    return u % 1 < 0.5


def _pinstripes(u: FloatArray, v: FloatArray) -> Weight:
    """Pairs of thin lines on a wide ground."""
    phase = (u / 1.5) % 1
    return (phase < 0.13) | ((phase > 0.26) & (phase < 0.39))


def _checks(u: FloatArray, v: FloatArray) -> Weight:
    return np.asarray((np.floor(u * 1.4) + np.floor(v * 1.4)) % 2)


def _dots(u: FloatArray, v: FloatArray) -> Weight:
    row = np.floor(v)
    return np.asarray(np.hypot((u + row / 2) % 1 - 0.5, v - row - 0.5) < 0.32)


def _rings(u: FloatArray, v: FloatArray) -> Weight:
    return np.asarray(np.hypot(u, v) % 1 < 0.5)


def _zigzag(u: FloatArray, v: FloatArray) -> Weight:
    return np.asarray((v + 2.2 * np.abs((u / 1.6) % 1 - 0.5)) % 1 < 0.5)


def _plaid(u: FloatArray, v: FloatArray) -> Weight:
    """Two crossing bands, so three tones."""
    return ((u / 1.3 % 1 < 0.5).astype(np.float32) + (v / 1.3 % 1 < 0.5)) / 2


def _spokes(u: FloatArray, v: FloatArray) -> Weight:
    return np.asarray(np.arctan2(v, u) * 8 / np.pi % 2 < 1)


_PATTERNS: dict[str, Callable[[FloatArray, FloatArray], Weight]] = {
    "checks": _checks,
    "dots": _dots,
    "pinstripes": _pinstripes,
    "plaid": _plaid,
    "rings": _rings,
    "spokes": _spokes,
    "stripes": _stripes,
    "zigzag": _zigzag,
}
PATTERN_NAMES = tuple(_PATTERNS)
