"""Masks that lie beside the images they are of: ``a.png`` in two shades beside ``a.jpg``, of the same size.

Published sets of defects are laid out like that. A mask that is taken for an image would be learned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

_LOSSLESS = {".png", ".bmp", ".tif", ".tiff", ".gif"}  # others do not keep two shades
_NAMED = re.compile(r"^(?P<stem>.+)[-_ ](mask|gt|seg)$", re.IGNORECASE)
_SHADES = {"1", "L", "P", "I", "I;16", "RGB", "RGBA", "LA"}
_DECODED = 24  # masks of a set; the headers tell of the others where these are all masks


def separate_masks(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, Path]]:
    """Separate images from masks.

    Args:
        paths: Image files.

    Returns:
        The images in their order, and the mask of each image that has one.
    """
    pairs = _pairs(paths)
    fitting = [(image, mask) for image, mask in pairs if _same_size(image, mask)]
    some = fitting[:: max(len(fitting) // _DECODED, 1)]
    if not all(in_two_shades(mask) for _, mask in some):
        fitting = [(image, mask) for image, mask in fitting if in_two_shades(mask)]
    masks = dict(fitting)
    taken = set(masks.values())
    return [path for path in paths if path not in taken], masks


def in_two_shades(path: Path) -> bool:
    """Whether an image has black and at most one other shade."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image.convert("RGB") if image.mode in {"P", "RGBA", "LA"} else image)
    except Exception:  # decoders of broken files raise nearly anything
        return False
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            return False
        values = values[..., 0]
    found = np.unique(values)
    # A mask may be set, or empty, as a whole.
    return (len(found) == 2 and bool(found[0] == 0)) or (len(found) == 1 and int(found[0]) in {0, 1, 255})


def _pairs(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """(image, what may be its mask): two files of one stem, or of a stem that says which is the mask."""
    by_stem: dict[tuple[Path, str], list[Path]] = {}
    for path in paths:
        by_stem.setdefault((path.parent, path.stem), []).append(path)
    pairs = []
    for (folder, stem), found in by_stem.items():
        named = _NAMED.match(stem)
        images = by_stem.get((folder, named["stem"]), []) if named else []
        if len(found) == 1 and len(images) == 1 and found[0].suffix.lower() in _LOSSLESS:
            pairs.append((images[0], found[0]))
        elif len(found) == 2:
            first, second = found
            for image, mask in ((first, second), (second, first)):
                if mask.suffix.lower() in _LOSSLESS and not (
                    image.suffix.lower() in _LOSSLESS and in_two_shades(image)
                ):
                    pairs.append((image, mask))
                    break
    return pairs


def _same_size(image: Path, mask: Path) -> bool:
    try:
        with Image.open(image) as one, Image.open(mask) as other:
            return one.size == other.size and other.mode in _SHADES
    except Exception:  # as above
        return False
