"""Small files laid out as the published data sets are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

Files = Mapping[str, str | tuple[int, int] | np.ndarray]


def write_files(root: Path, files: Files) -> Path:
    """Text, pictures of a size (width, height), and masks, by their paths."""
    for number, (name, content) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        elif isinstance(content, tuple):
            Image.new("L", content, number % 250).save(path, "PNG" if path.suffix == ".png" else "JPEG")
        else:
            Image.fromarray(content.astype(np.uint8) * 255).save(path)
    return root


def voc_xml(*objects: tuple[str, int, int, int, int, int]) -> str:
    """Of (name, difficult, xmin, ymin, xmax, ymax)."""
    nodes = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, difficult, x0, y0, x1, y1 in objects
    )
    return f"<annotation>{nodes}</annotation>"
