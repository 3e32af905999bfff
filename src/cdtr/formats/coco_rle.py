"""COCO JSON with the boxes' regions as run-length encoded masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cdtr.errors import ConfigError, how_to_install
from cdtr.formats._target import Add, Target, masks_of
from cdtr.formats.coco import CocoContent
from cdtr.records import Localization
from cdtr.runs import write_json

FILE_NAME = "coco_rle.json"
NEEDS_MASKS = True


@contextmanager
def open_writer(target: Target) -> Iterator[Add]:
    """Write the file of the format coco with ``segmentation`` (COCO's compressed RLE) and its pixels as ``area``."""
    try:
        from pycocotools import mask as coco_masks
    except ImportError as error:
        raise ConfigError(f"the format coco-rle needs pycocotools: {how_to_install('coco')}") from error
    content = CocoContent(target.class_names)

    def encode(localization: Localization) -> Iterator[dict[str, Any]]:
        for mask in masks_of(localization):
            rle = coco_masks.encode(np.asfortranarray(mask))
            segmentation = {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
            yield {"segmentation": segmentation, "area": float(coco_masks.area(rle))}

    yield lambda localization: content.add(localization, list(encode(localization)))
    write_json(target.path, content.tree())
