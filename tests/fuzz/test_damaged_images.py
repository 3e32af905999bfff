"""Damaged images: each is read or refused in one line that names it, soon, and by all readers alike."""

from __future__ import annotations

import time
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdtr.errors import DataError
from cdtr.image_files.reading import check_images, decode_image, read_image, read_size
from cdtr.records import Sample
from fuzz.mutations import damaged, rounds

MAX_PIXELS = 4_000_000
SECONDS_EACH = 5.0  # far above what one takes, below what a person would call a hang


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


SEEDS = {
    "jpg": saved("JPEG"),
    "progressive.jpg": saved("JPEG", progressive=True),
    "exif.jpg": saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    "cmyk.jpg": saved("JPEG", "CMYK"),
    "png": saved("PNG"),
    "palette.png": saved("PNG", "P"),
    "rgba.png": saved("PNG", "RGBA"),
    "webp": saved("WEBP"),
    "gif": saved("GIF"),
    "bmp": saved("BMP"),
    "ppm": saved("PPM"),
    "tif": saved("TIFF"),
    "deflate.tif": saved("TIFF", compression="tiff_adobe_deflate"),
    "jpeg.tif": saved("TIFF", compression="jpeg"),
    "float.tif": saved("TIFF", "F"),
}


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_images(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{name}"
    for random in rounds(25):
        content = damaged(SEEDS[name], random)
        path.write_bytes(content)
        start = time.process_time()
        found = outcome(lambda: read_image(path, MAX_PIXELS))
        again = outcome(lambda content=content: decode_image(BytesIO(content), path, MAX_PIXELS))
        # A file of no bytes is looked at by its path, so that only the outcome of others must be the same.
        assert (found == again) or not content
        assert isinstance(outcome(lambda: read_size(path, MAX_PIXELS)), tuple | str)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            good, broken = check_images([Sample("a", path, 0)], MAX_PIXELS, threads=1)
        assert len(good) + len(broken) == 1
        assert time.process_time() - start < SECONDS_EACH


def outcome(read) -> object:
    """The size of what was read, or the line that says why not; any other error is a failure of the test."""
    try:
        result = read()
    except DataError as error:
        result = str(error)
    if isinstance(result, str):
        assert "\n" not in result
        assert "a." in result
    if isinstance(result, Image.Image):
        assert result.mode == "RGB"
        return result.size
    return result
