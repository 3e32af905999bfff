"""Loaders of batches: reproducible and resumable in training, in order in evaluation; no broken file ends one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch.utils.data import DataLoader, Dataset

from cdtr.config import Config, DataConfig, ViewName
from cdtr.cores import core_count
from cdtr.data.batches import BatchLoader, Item, OnBroken, collate, one_thread
from cdtr.data.prior_maps import PriorMaps
from cdtr.data.sampler import EpochSampler, Key, augmentation_seed
from cdtr.data.stream import StreamLoader
from cdtr.data.transforms import EvalTransform, TrainTransform
from cdtr.errors import DataError
from cdtr.image_files.reading import read_image
from cdtr.image_files.tar_members import in_tar
from cdtr.records import Sample


class TrainImages(Dataset[Item]):
    """Training images by key; an augmentation depends on seed, epoch and position alone.

    pixels: without, no file is read and images are empty, for a training that has their features.
    broken: why by id of images that are known to be unreadable.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: DataConfig,
        seed: int,
        maps: PriorMaps | None = None,
        pixels: bool = True,
        broken: Mapping[str, str] | None = None,
    ) -> None:
        self._samples = tuple(samples)
        self._known_broken = broken or {}
        self._pixels = pixels
        self._max_pixels = config.max_pixels
        self._seed = seed
        self._transform = TrainTransform(config)
        self._maps = maps

    def __getitem__(self, key: Key) -> Item:
        epoch, position, index = key
        broken: list[tuple[Sample, str]] = []
        for sample in self._candidates(index):
            if sample.image_id in self._known_broken:
                broken.append((sample, self._known_broken[sample.image_id]))
                continue
            if not self._pixels:
                mirrored = self._transform.mirrors(augmentation_seed(self._seed, epoch, position))
                return Item(sample, torch.empty(3, 0, 0), None, (0, 0), tuple(broken), mirrored=mirrored)
            try:
                source = read_image(sample.path, self._max_pixels)
                prior = None if self._maps is None else self._maps.read(sample)
            except DataError as error:
                broken.append((sample, str(error)))
                continue
            seed = augmentation_seed(self._seed, epoch, position)
            with torch.random.fork_rng(devices=[]):
                # Not torch.manual_seed, which would seed the accelerators of this process too.
                torch.default_generator.manual_seed(seed)
                image, clean, moved = self._transform.with_map(source, prior)
            size_hw, mirrored = (source.height, source.width), self._transform.mirrors(seed)
            return Item(sample, image, clean, size_hw, tuple(broken), mirrored=mirrored, prior=moved)
        raise DataError(f"none of the {len(self._samples)} training images can be read; the first: {broken[0][1]}")

    def _candidates(self, index: int) -> Iterator[Sample]:
        """The sample, then what may stand in for it: those that follow it in its class, then all others."""
        first = self._samples[index]
        yield first
        others = self._samples[index + 1 :] + self._samples[:index]
        yield from (sample for sample in others if sample.label == first.label)
        yield from (sample for sample in others if sample.label != first.label)


class EvalImages(Dataset[Item]):
    """Images by index, as a view shows them."""

    def __init__(self, samples: Sequence[Sample], config: DataConfig, view: ViewName = "whole") -> None:
        self._samples = tuple(samples)
        self._max_pixels = config.max_pixels
        self._transform = EvalTransform(config, view)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Item:
        sample = self._samples[index]
        try:
            source = read_image(sample.path, self._max_pixels)
        except DataError as error:
            return Item(sample, None, None, (0, 0), ((sample, str(error)),))
        size_hw = source.height, source.width
        return Item(sample, self._transform(source), None, size_hw, field=self._transform.view.field(size_hw))


class TrainLoader(BatchLoader):
    """Micro-batches of this process from the position set to the end of that epoch.

    ``train.accumulation`` batches in a row make one optimiser step. The position does not move by itself: set it
    before each epoch. A file that breaks when decoded is replaced by the next readable one of its class.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        config: Config,
        rank: int,
        world: int,
        on_broken: OnBroken | None = None,
        maps: PriorMaps | None = None,
        pixels: bool = True,
        broken: Mapping[str, str] | None = None,
    ) -> None:
        self._sampler = EpochSampler(len(samples), config, rank, world, [sample.label for sample in samples])
        images = TrainImages(samples, config.data, config.seed, maps, pixels, broken)
        super().__init__(_data_loader(images, config, batch_sampler=self._sampler), on_broken)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in a whole epoch."""
        return self._sampler.steps_per_epoch

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Go on at optimiser step ``step`` of epoch ``epoch``, both from 0."""
        self._sampler.set_position(epoch, step)


class EvalLoader(BatchLoader):
    """Batches in the order of the samples; unreadable images are left out and reported."""


def train_loader(
    samples: Sequence[Sample],
    config: Config,
    rank: int = 0,
    world: int = 1,
    on_broken: OnBroken | None = None,
    maps: PriorMaps | None = None,
    pixels: bool = True,
    broken: Mapping[str, str] | None = None,
) -> TrainLoader | StreamLoader:
    """The training loader of process ``rank`` of ``world``; broken files go to ``on_broken``, else are warned about.

    Images in tar shards are streamed, with what ``cdtr.data.stream`` says of the order. With ``maps`` the batches have
    the maps of their images as ``prior``.

    pixels: without, the batches of single files have images of size 0, for a training that has their features.
    broken: why by id of single files that are known to be unreadable.
    """
    if samples and in_tar(samples[0].path):
        return StreamLoader(samples, config, rank, world, on_broken, maps)
    return TrainLoader(samples, config, rank, world, on_broken, maps, pixels, broken)


def eval_loader(
    samples: Sequence[Sample],
    config: Config,
    rank: int = 0,
    world: int = 1,
    on_broken: OnBroken | None = None,
    view: ViewName = "whole",
) -> EvalLoader:
    """The evaluation loader of process ``rank`` of ``world``, which gets every world-th sample, without padding.

    view: of each image; images of the view ``tiled`` are for a method that cuts tiles from them.
    """
    images = EvalImages(samples[rank::world], config.data, view)
    return EvalLoader(_data_loader(images, config, batch_size=config.evaluation.batch_size), on_broken)


def _data_loader(
    images: Dataset[Item], config: Config, batch_size: int = 1, batch_sampler: EpochSampler | None = None
) -> DataLoader[Item]:
    return DataLoader(
        images,
        batch_size=batch_size,
        batch_sampler=batch_sampler,
        num_workers=min(config.data.workers, core_count()),  # more only take turns on the cores that this process has
        collate_fn=collate,
        worker_init_fn=one_thread,
        generator=torch.Generator().manual_seed(config.seed),  # else each iterator draws from the global one
    )
