"""The images that an exported file is compared on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cdtr.config import Config, DataConfig, ViewName
from cdtr.data.batches import OnBroken
from cdtr.data.drawing import PATTERN_NAMES, draw_image
from cdtr.data.loader import eval_loader
from cdtr.data.pixels import View
from cdtr.deployment.program import Runner
from cdtr.deployment.session import Outputs, Pixels
from cdtr.errors import DataError
from cdtr.records import Field, Sample

_BATCH = 16


@dataclass(frozen=True, slots=True)
class ComparedImages:
    """Images (N, 3, H, W) as the network takes them, with their samples and their sizes before.

    The last field is the part of each image that the network sees; None for all of it.
    """

    pixels: Pixels
    samples: tuple[Sample, ...]
    sizes_hw: tuple[tuple[int, int], ...]
    fields: tuple[Field | None, ...]

    def __len__(self) -> int:
        return len(self.samples)


def read_compared(
    samples: Sequence[Sample], config: Config, on_broken: OnBroken | None = None, view: ViewName = "whole"
) -> ComparedImages:
    """Images of a data set, those that can be read; DataError where none can."""
    batches = list(eval_loader(samples, config, on_broken=on_broken, view=view))
    if not batches:
        raise DataError(f"none of the {len(samples)} images can be read: give other data")
    return ComparedImages(
        np.concatenate([batch.images.numpy() for batch in batches]),
        tuple(sample for batch in batches for sample in batch.samples),
        tuple(size_hw for batch in batches for size_hw in batch.sizes_hw),
        tuple(batch.field_of(index) for batch in batches for index in range(len(batch.samples))),
    )


def drawn_images(count: int, config: DataConfig, seed: int = 0, view: ViewName = "whole") -> ComparedImages:
    """Images like those of the quickstart, where no data is at hand. They have none of the method's classes."""
    side, seen, pixels = max(config.input_size), View.of(view, config), []
    for index in range(count):
        drawn = draw_image(index % len(PATTERN_NAMES), side, np.random.default_rng([seed, index]))
        pixels.append(seen.pixels(Image.fromarray(drawn.image), config.mean, config.std))
    samples = tuple(Sample(f"drawn-{index}", Path(), 0) for index in range(count))
    return ComparedImages(np.stack(pixels), samples, ((side, side),) * count, (seen.field((side, side)),) * count)


def run_all(runner: Runner, images: ComparedImages) -> Outputs:
    """The outputs for all images, a batch at a time."""
    found = [runner(images.pixels[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return Outputs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
