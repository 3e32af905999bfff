"""Pictures to send, and the run that the tests of the server ask."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "emu")
THRESHOLD = 0.4


def picture(seed: int = 1, size_wh: tuple[int, int] = (90, 60)) -> Image.Image:
    """Blotches of colour."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size_wh, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
