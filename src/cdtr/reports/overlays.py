"""Images for people: heat maps, and photos with map, boxes and class drawn over them."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from cdtr.errors import DataError
from cdtr.localization.maps import resize_map
from cdtr.records import FloatArray, Localization

HEAT_SHARE = 0.45
PREDICTED_COLOUR = (60, 220, 90)
TRUTH_COLOUR = (235, 50, 50)
_PLATE_COLOUR = (20, 20, 20)
_LONGEST = 2048  # side of the overlay of an image that was cut into tiles
_MANY = 3  # times as fine as in other images: such an image may have dozens of boxes


def heat_map(score_map: FloatArray, size_hw: tuple[int, int] | None = None) -> Image.Image:
    """A map (H, W) in [0, 1] as an image, blue for 0 to red for 1, resized to ``size_hw`` if given."""
    if size_hw is not None and score_map.shape != size_hw:
        score_map = resize_map(score_map, size_hw)
    coloured = matplotlib.colormaps["turbo"](np.clip(score_map, 0, 1), bytes=True)
    return Image.fromarray(np.ascontiguousarray(coloured[..., :3]))


def overlay(
    image: Image.Image, localization: Localization, ground_truth_xyxy: npt.ArrayLike | None = None
) -> Image.Image:
    """Draw an image under its heat map with its boxes.

    Predicted boxes are green with class and score; ground truth (N, 4) is red and dashed, so that the two differ
    without their colours too. An image of a class without an object is drawn without a heat map, which would light up
    some part of it all the same; the class stands in its corner.
    """
    height, width = localization.size_hw
    if image.size != (width, height):
        raise DataError(f"image of {image.size} for a localization of {(width, height)}: pass the source image")
    canvas = image.convert("RGB")
    if not localization.empty:
        canvas = Image.blend(canvas, heat_map(localization.map, localization.size_hw), HEAT_SHARE)
    fine = _MANY if localization.map.shape != localization.size_hw else 1
    draw_boxes(canvas, localization.boxes_xyxy, ground_truth_xyxy, _line_width(canvas, fine))
    draw, text_size = ImageDraw.Draw(canvas), max(9, round(min(canvas.size) / 22 / fine))
    # Labels come last, so that no box crosses one.
    for box, label, score in zip(localization.boxes_xyxy, localization.labels, localization.scores, strict=True):
        _label(draw, box, f"{_name(localization, int(label))} {score:.2f}", canvas.size, text_size)
    if localization.empty:
        certain = 1 - (localization.object_prob or 0.0)
        text = f"no object: {_name(localization, localization.map_label)} {certain:.2f}"
        _label(draw, np.zeros(4), text, canvas.size, text_size)
    return canvas


def small_overlay(image: Image.Image, localization: Localization) -> Image.Image:
    """Draw ``overlay``; an image that was cut into tiles is scaled down to at most 2,048 pixels a side before."""
    height, width = localization.size_hw
    factor = _LONGEST / max(height, width)
    if factor >= 1 or localization.map.shape == localization.size_hw:
        return overlay(image, localization)
    size_hw = max(round(height * factor), 1), max(round(width * factor), 1)
    scale = np.tile([size_hw[1] / width, size_hw[0] / height], 2)
    boxes = (localization.boxes_xyxy * scale).astype(np.float32)
    small = image.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return overlay(small, replace(localization, size_hw=size_hw, boxes_xyxy=boxes, masks=None))


def _name(localization: Localization, label: int) -> str:
    return localization.class_names[label] if localization.class_names else str(label)


def draw_boxes(
    image: Image.Image,
    boxes_xyxy: npt.ArrayLike,
    ground_truth_xyxy: npt.ArrayLike | None = None,
    line_width: int | None = None,
) -> None:
    """Draw half-open boxes (N, 4) in pixels of the image onto it: found ones green, true ones red and dashed.

    line_width: in pixels; by default it goes with the image's size.
    """
    draw, line_width = ImageDraw.Draw(image), line_width or _line_width(image)
    if ground_truth_xyxy is not None:
        for box in np.asarray(ground_truth_xyxy, dtype=float).reshape(-1, 4):
            _dashed_rectangle(draw, box, TRUTH_COLOUR, line_width)
    for box in np.asarray(boxes_xyxy, dtype=float).reshape(-1, 4):
        x0, y0, x1, y1 = _corners(box)
        if min(x1 - x0, y1 - y0) > 4 * line_width:  # a dark line inside, so that green shows on green too
            draw.rectangle((x0 + line_width, y0 + line_width, x1 - line_width, y1 - line_width), outline=(0, 0, 0))
        draw.rectangle((x0, y0, x1, y1), outline=PREDICTED_COLOUR, width=line_width)


def _line_width(image: Image.Image, fine: int = 1) -> int:
    return max(1, round(min(image.size) / 150 / fine))


def _corners(box: FloatArray) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(value) for value in box)
    # Half-open: the last pixel of the box is one before its end.
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def _dashed_rectangle(
    draw: ImageDraw.ImageDraw, box: FloatArray, colour: tuple[int, int, int], line_width: int
) -> None:
    """Dashes with white between them, so that the line shows on red too; the corners are always coloured."""
    x0, y0, x1, y1 = _corners(box)
    draw.rectangle((x0, y0, x1, y1), outline=(255, 255, 255), width=line_width)
    inner = line_width - 1
    for start, end in _dashes(x0, x1, 5 * line_width):
        draw.rectangle((start, y0, end, min(y1, y0 + inner)), fill=colour)
        draw.rectangle((start, max(y0, y1 - inner), end, y1), fill=colour)
    for start, end in _dashes(y0, y1, 5 * line_width):
        draw.rectangle((x0, start, min(x1, x0 + inner), end), fill=colour)
        draw.rectangle((max(x0, x1 - inner), start, x1, end), fill=colour)


def _dashes(start: float, end: float, length: int) -> list[tuple[float, float]]:
    """Dashes of about ``length`` with gaps as long between them, the first at the start, the last at the end."""
    pieces = 2 * round(((end - start) / length - 1) / 2) + 1
    edges = np.linspace(start, end, max(pieces, 1) + 1)
    return [(float(edges[index]), float(edges[index + 1])) for index in range(0, len(edges) - 1, 2)]


def _label(draw: ImageDraw.ImageDraw, box: FloatArray, text: str, size_wh: tuple[int, int], text_size: int) -> None:
    """Text on a dark plate above the box, or inside its top where there is no room; moved to stay in the image."""
    width, height = size_wh
    font = ImageFont.load_default(size=text_size)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = max(1, round((bottom - top) / 5))
    plate_width, plate_height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0.0, min(float(box[0]), width - plate_width))
    y = float(box[1]) - plate_height
    if y < 0:
        y = min(float(box[1]), height - plate_height)
    draw.rectangle((x, y, x + plate_width, y + plate_height), fill=_PLATE_COLOUR)
    draw.text((x + pad - left, y + pad - top), text, font=font, fill=(255, 255, 255))
