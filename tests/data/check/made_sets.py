"""Small data sets in memory and on disk for the checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cdtr.data.check.scan import ImageFacts
from cdtr.formats import no_annotation
from cdtr.records import Annotation, DataSource, FloatArray, Sample

CLASSES = ("cat", "dog")


def photo(seed: int, size_wh: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture with structure at all scales, unlike that of any other seed."""
    random = np.random.default_rng(seed)
    layers = [Image.fromarray(random.integers(0, 256, (n, n, 3), dtype=np.uint8)) for n in (6, 12, 24)]
    resized = [layer.resize(size_wh, Image.Resampling.BICUBIC) for layer in layers]
    return Image.fromarray(np.mean(resized, axis=0).astype(np.uint8))


def save(picture: Image.Image, path: Path, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)
    return path


def make_source(
    root: Path, images: dict[str, tuple[str, int]], boxes: dict[str, FloatArray | None] | None = None
) -> DataSource:
    """A set of files, ``path -> (split, label)``, and boxes by path."""
    splits: dict[str, list[Sample]] = {}
    for name, (split, label) in images.items():
        splits.setdefault(split, []).append(Sample(name, root / name, label))

    def annotate(sample: Sample) -> Annotation | None:
        found = (boxes or {}).get(sample.image_id)
        return None if found is None else Annotation(found)

    return DataSource(
        name="made",
        root=root,
        class_names=CLASSES,
        splits={split: tuple(samples) for split, samples in splits.items()},
        annotated=boxes is not None,
        annotate=annotate if boxes is not None else no_annotation,
    )


def image_facts(name: str, split: str = "train", label: int = 0, mode: str = "RGB", **more: object) -> ImageFacts:
    return ImageFacts(split, Sample(name, Path(name), label), mode=mode, **{"size_hw": (64, 96), **more})  # type: ignore[arg-type]
