"""Items on their way into a batch, and what iterates batches and reports what was broken."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from cdtr.records import Batch, Field, Sample

OnBroken: TypeAlias = Callable[[Sample, str], None]


class Item(NamedTuple):
    """One image on its way into a batch.

    Attributes:
        image: None if the file could not be read.
        broken: (sample, reason) of each file that could not be read.
        field: the part of the source that ``image`` shows; None for all of it.
        mirrored: whether ``image`` is mirrored, where that is all that an augmentation does; else None.
        prior: (H, W), the map that goes with the image; None without maps.
    """

    sample: Sample
    image: Tensor | None
    clean: Tensor | None
    size_hw: tuple[int, int]
    broken: tuple[tuple[Sample, str], ...] = ()
    field: Field | None = None
    mirrored: bool | None = None
    prior: Tensor | None = None


class Loaded(NamedTuple):
    """What a worker process hands over: a batch, None if no image of it was readable, and what was broken."""

    batch: Batch | None
    broken: tuple[tuple[Sample, str], ...]


def collate(items: Sequence[Item]) -> Loaded:
    """Stack the readable items to a Batch."""
    broken = tuple(fault for item in items for fault in item.broken)
    good = [item for item in items if item.image is not None]
    if not good:
        return Loaded(None, broken)
    clean = [item.clean for item in good if item.clean is not None]
    priors = [item.prior for item in good if item.prior is not None]
    batch = Batch(
        images=torch.stack([item.image for item in good if item.image is not None]),
        labels=torch.tensor([item.sample.label for item in good], dtype=torch.int64),
        samples=tuple(item.sample for item in good),
        sizes_hw=tuple(item.size_hw for item in good),
        clean_images=torch.stack(clean) if clean else None,
        fields=tuple(item.field for item in good) if any(item.field for item in good) else (),
        mirrored=tuple(item.mirrored for item in good if item.mirrored is not None),
        prior=torch.stack(priors) if priors else None,
    )
    return Loaded(batch, broken)


class BatchLoader:
    """Iterates batches and reports each broken file once, in the main process; ``broken`` keeps id and reason."""

    def __init__(self, loader: DataLoader[Any], on_broken: OnBroken | None) -> None:
        self.broken: dict[str, str] = {}
        self._loader = loader
        self._on_broken = on_broken or _warn

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        loaded: Loaded
        for loaded in self._loader:
            for sample, reason in loaded.broken:
                if sample.image_id not in self.broken:
                    self.broken[sample.image_id] = reason
                    self._on_broken(sample, reason)
            if loaded.batch is not None:
                yield loaded.batch


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Return the batch with its tensors on a device."""
    clean = None if batch.clean_images is None else batch.clean_images.to(device)
    prior = None if batch.prior is None else batch.prior.to(device)
    images, labels = batch.images.to(device), batch.labels.to(device)
    return replace(batch, images=images, labels=labels, clean_images=clean, prior=prior)


def known_levels(batch: Batch) -> dict[str, tuple[Tensor, ...]]:
    """The argument of a method that takes known features; none where there are none, as other methods take none."""
    return {"levels": batch.levels} if batch.levels else {}


def one_thread(_worker: int) -> None:
    """Let a worker process of a loader compute with one thread."""
    torch.set_num_threads(1)


class WarnOnce:
    """Warns of each broken file once, for several loaders of the same images.

    Attributes:
        known: Ids of the images that were warned about, in this process or another.
    """

    def __init__(self) -> None:
        self.known: set[str] = set()

    def __call__(self, sample: Sample, reason: str) -> None:
        """Warn unless the image is known."""
        if sample.image_id not in self.known:
            self.known.add(sample.image_id)
            _warn(sample, reason)


def _warn(sample: Sample, reason: str) -> None:
    warnings.warn(f"left out {sample.image_id}: {reason}", stacklevel=3)
