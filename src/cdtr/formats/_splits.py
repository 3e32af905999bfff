"""The split of an export into images to train on and images to measure on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

TRAIN, VAL, TEST = "train", "val", "test"
_FOLDERS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
    "testing": TEST,
}


def split_names(images: Sequence[tuple[str, int]], val_share: float | None) -> list[tuple[str, str]]:
    """Choose the split of each image.

    Images that all lie in folders ``train``, ``val`` and ``test``, at least two of them, stay in those splits. Images
    of ``train`` are divided where there is no ``val``.

    Args:
        images: The id and the class of each image.
        val_share: The share of images that are ``val``, the same in all classes, chosen by a hash of their names: at
            least one of two or more images. None for all images in ``train``.

    Returns:
        The split of each image, and its name within the split.
    """
    own = [_own_split(image_id) for image_id, _ in images]
    if all(own) and len({split for split, _ in filter(None, own)}) > 1:
        placed = [found for found in own if found is not None]
    else:
        placed = [(TRAIN, image_id) for image_id, _ in images]
    if val_share and all(split != VAL for split, _ in placed):
        train = [index for index, (split, _) in enumerate(placed) if split == TRAIN]
        for index in _chosen([images[index] for index in train], val_share):
            placed[train[index]] = (VAL, placed[train[index]][1])
    return placed


def _own_split(image_id: str) -> tuple[str, str] | None:
    first, *rest = PurePosixPath(image_id).parts
    split = _FOLDERS.get(first.casefold())
    return (split, "/".join(rest)) if split is not None and rest else None


def _chosen(images: Sequence[tuple[str, int]], share: float) -> list[int]:
    """Choose the indices of ``share`` of the images, rounded, but neither none nor all of several."""
    count = round(share * len(images))
    count = min(max(count, 1), len(images) - 1) if len(images) > 1 else 0

    def key(index: int) -> tuple[int, str]:
        image_id, label = images[index]
        return label, hashlib.sha256(image_id.encode("utf-8", "surrogatepass")).hexdigest()

    # At even steps through the images sorted by class, so that each class gives its share.
    order = sorted(range(len(images)), key=key)
    return [order[(2 * step + 1) * len(images) // (2 * count)] for step in range(count)]
