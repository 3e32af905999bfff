"""A data set at a glance: a few images of each class with their boxes, and images that are copies side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cdtr.data.check.scan import ImageFacts
from cdtr.errors import ConfigError, DataError
from cdtr.image_files.reading import read_image
from cdtr.records import Annotation, Sample
from cdtr.reports.data_check import DataCheck
from cdtr.reports.overlays import draw_boxes
from cdtr.runs import write_atomic
from cdtr.text import printable

CELL = 128  # pixels of an image's longer side
MOST_CLASSES = 400  # of a sheet

_MOST_GROUPS, _MOST_COPIES = 60, 4  # of a sheet of copies, and of a row
_PAGE = 1.4  # height of a page by its width
_GAP = 6
_LINE = 20  # height of a title or caption
_BIG, _SMALL = 14, 11
_PAPER, _INK, _GREY = (255, 255, 255), (20, 20, 20), (110, 110, 110)
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}


@dataclass(frozen=True, slots=True)
class SheetImage:
    """An image of a sheet, with a short caption below it, and its boxes if any are to be drawn."""

    sample: Sample
    caption: str
    annotation: Annotation | None = None


def class_sheet(check: DataCheck, per_class: int, max_pixels: int, most_classes: int = MOST_CLASSES) -> Image.Image:
    """Draw ``per_class`` images of each of the first ``most_classes`` classes, evenly from its splits, boxes in red."""
    boxes = {(one.image.split, one.image.sample.image_id): one.annotation for one in check.boxes}
    of_class: dict[int, list[ImageFacts]] = {}
    for one in check.facts:
        if one.fault is None:
            of_class.setdefault(one.sample.label, []).append(one)
    rows = []
    for label, name in list(enumerate(check.source.class_names))[:most_classes]:
        found = of_class.get(label, [])
        counts = Counter(one.split for one in found)
        title = f"{name}: {', '.join(f'{count} {split}' for split, count in counts.items()) or 'no image'}"
        shown = [
            SheetImage(one.sample, one.split, boxes.get((one.split, one.sample.image_id)))
            for one in _evenly(found, per_class)
        ]
        rows.append((title, shown))
    return draw_rows(rows, per_class, max_pixels)


def copies_sheet(groups: Sequence[Sequence[ImageFacts]], class_names: Sequence[str], max_pixels: int) -> Image.Image:
    """Images that look alike beside each other, a row a group, to be judged by eye."""
    rows = []
    for number, group in enumerate(groups[:_MOST_GROUPS], start=1):
        shown = [
            SheetImage(one.sample, f"{one.split}, {class_names[one.sample.label]}") for one in group[:_MOST_COPIES]
        ]
        more = f", {len(group) - _MOST_COPIES} more not shown" if len(group) > _MOST_COPIES else ""
        rows.append((f"{number}: {Path(group[0].sample.image_id).name}{more}", shown))
    return draw_rows(rows, _MOST_COPIES, max_pixels)


def write_sheet(sheet: Image.Image, path: Path) -> None:
    """Save as JPEG or PNG, by the file's ending; ConfigError for another one."""
    require_format(path)
    buffer = BytesIO()
    sheet.save(buffer, _FORMATS[path.suffix.lower()], quality=88)
    write_atomic(path, buffer.getvalue())


def require_format(path: Path) -> None:
    """ConfigError for a file name that ends otherwise."""
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path}: expected a file name that ends in {', '.join(_FORMATS)}")


def draw_rows(rows: Sequence[tuple[str, Sequence[SheetImage]]], cells: int, max_pixels: int) -> Image.Image:
    """Titles with a row of images below each, in as many columns as make a page of them."""
    width, height = cells * (CELL + _GAP) + 3 * _GAP, CELL + 2 * _LINE + 2 * _GAP
    columns = max(1, min(len(rows), round(math.sqrt(len(rows) * height / width / _PAGE))))
    lines = math.ceil(len(rows) / columns)
    sheet = Image.new("RGB", (columns * width, max(1, lines) * height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (title, images) in enumerate(rows):
        left, top = number // lines * width + _GAP, number % lines * height + _GAP
        draw.text((left, top), _fit(printable(title), width - 2 * _GAP), fill=_INK, font=_font(_BIG))
        for place, one in enumerate(images):
            x, y = left + place * (CELL + _GAP), top + _LINE
            thumbnail = _thumbnail(one, max_pixels)
            sheet.paste(thumbnail, (x + (CELL - thumbnail.width) // 2, y + (CELL - thumbnail.height) // 2))
            draw.text((x, y + CELL), _fit(printable(one.caption), CELL, _SMALL), fill=_GREY, font=_font(_SMALL))
    return sheet


def _thumbnail(shown: SheetImage, max_pixels: int) -> Image.Image:
    try:
        image = read_image(shown.sample.path, max_pixels)
    except DataError:  # it changed since it was looked at
        return Image.new("RGB", (CELL, CELL), _GREY)
    scale = CELL / max(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    if shown.annotation is not None:
        boxes = shown.annotation.boxes_xyxy
        draw_boxes(small, np.zeros((0, 4)), boxes[np.isfinite(boxes).all(axis=1)] * scale)
    return small


def _evenly(found: Sequence[ImageFacts], count: int) -> list[ImageFacts]:
    """So many images, from each split as many as from another if it has them, spread over each split."""
    by_split: dict[str, list[ImageFacts]] = {}
    for one in found:
        by_split.setdefault(one.split, []).append(one)
    shown: list[ImageFacts] = []
    # The smallest split first: what it lacks, the others give.
    for left, own in zip(range(len(by_split), 0, -1), sorted(by_split.values(), key=len), strict=True):
        share = min(len(own), (count - len(shown)) // left)
        shown += [own[int(place)] for place in np.linspace(0, len(own) - 1, share)]
    return sorted(shown, key=lambda one: list(by_split).index(one.split))


def _fit(text: str, width: int, size: int = _BIG) -> str:
    """The text, cut where it is wider than so many pixels."""
    if _font(size).getlength(text) <= width:
        return text
    while text and _font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings, with Latin, Greek and Cyrillic letters."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
