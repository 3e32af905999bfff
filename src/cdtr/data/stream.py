"""Training from tar shards: read in a row, mixed in a buffer, each process and worker its own shards.

The order of an epoch is a function of seed, epoch, and the numbers of processes and workers; with other numbers of
these it is another one, where the loader of single files has one order for all. Each process gets the same number of
batches: one with fewer images meets some of them twice, which evens out over the epochs, as the shards change hands. A
resumed run goes on at its step: what came before is read again, without decoding it. The copies of an image that
``data.repeats`` asks for follow each other in one process, since no other reads its shard: they share a micro-batch,
but where its end comes between them.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice, repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from cdtr.config import Config
from cdtr.data.batches import BatchLoader, Item, Loaded, OnBroken, collate, one_thread
from cdtr.data.prior_maps import PriorMaps
from cdtr.data.sampler import EpochSampler, augmentation_seed
from cdtr.data.shards import require_webdataset
from cdtr.data.transforms import TrainTransform
from cdtr.errors import DataError
from cdtr.image_files.reading import decode_image
from cdtr.image_files.tar_members import plain_name, tar_of
from cdtr.records import Sample

Raw = tuple[Sample, bytes]
Decoded = tuple[Sample, Image.Image, Image.Image | None]  # with the map of the image
_MOST_TRIED = 1000  # images, until one can be decoded
_ORDER = 3  # keeps these random numbers apart from those of cdtr.data.sampler


class Shards:
    """The images of some shards by the members' names, and an order of them for every epoch."""

    def __init__(self, samples: Sequence[Sample], config: Config, rank: int, world: int) -> None:
        self._by_shard: dict[Path, dict[str, Sample]] = {}
        for sample in samples:
            shard, member = tar_of(sample.path)
            self._by_shard.setdefault(shard, {})[member] = sample
        self._shards = sorted(self._by_shard)
        if len(self._shards) < world:
            raise DataError(
                f"{len(self._shards)} shards for {world} processes: each needs one of its own, so write smaller ones "
                "with `cdtr data shards --images`"
            )
        self._seed, self._rank, self._world = config.seed, rank, world
        self._buffer = config.data.shuffle_buffer
        require_webdataset()

    @property
    def most_workers(self) -> int:
        """How many worker processes find a shard of their own."""
        return len(self._shards) // self._world

    def images(self, epoch: int, worker: int, workers: int) -> Iterator[Raw]:
        """The images of a worker without end: its shards of this epoch, over and over in another order."""
        wds = require_webdataset()
        mixed = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(len(self._shards))
        own = [self._shards[number] for number in mixed.tolist()][self._rank :: self._world][worker::workers]
        for turn in count():
            order = random.Random(f"{self._seed} {epoch} {self._rank} {worker} {turn}")
            order.shuffle(own)
            mix = wds.shuffle(self._buffer, initial=self._buffer, rng=order)
            found = None
            for found in mix(self._read(own)):
                yield found
            if found is None:
                raise DataError(f"{own[0]} has none of the images that are listed of it: write the set again")

    def _read(self, shards: Sequence[Path]) -> Iterator[Raw]:
        for shard in shards:
            members = self._by_shard[shard]
            try:
                with shard.open("rb") as stream:
                    # Opened here: the library's own opener would take a strange name for a command or an address.
                    files = require_webdataset().tariterators.tar_file_expander(
                        iter([{"url": str(shard), "stream": stream}]),
                        select_files=lambda name, members=members: plain_name(name) in members,
                        eof_value=None,
                    )
                    for file in files:
                        yield members[plain_name(file["fname"]) or ""], file["data"]
            except DataError:
                raise
            except Exception as error:  # a damaged tar file raises nearly anything
                raise DataError(f"{shard} cannot be read ({error}): write it again") from error


class StreamedBatches(IterableDataset[Loaded]):
    """The micro-batches of this worker.

    An image that cannot be decoded is replaced by another of its micro-batch; where none of that can, by the first that
    can of the worker's, so that a run that goes on meets the same.
    """

    def __init__(self, shards: Shards, sampler: EpochSampler, config: Config, maps: PriorMaps | None = None) -> None:
        self._shards, self._sampler, self._config = shards, sampler, config
        self._transform = TrainTransform(config.data)
        self._maps = maps

    def __iter__(self) -> Iterator[Loaded]:
        info, sampler = get_worker_info(), self._sampler
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        epoch, first = sampler.epoch, sampler.start_step * sampler.accumulation
        images = self._shards.images(epoch, worker, workers)
        raw = chain.from_iterable(repeat(image, self._config.data.repeats) for image in images)
        for part in range(worker, sampler.steps_per_epoch * sampler.accumulation, workers):
            positions = sampler.positions(part)
            chunk = list(islice(raw, len(positions)))
            if part < first:
                yield Loaded(None, ())
                continue
            others = islice(self._shards.images(epoch, worker, workers), _MOST_TRIED)
            yield collate(self._items(chunk, others, epoch, positions))

    def _items(self, chunk: Sequence[Raw], others: Iterator[Raw], epoch: int, positions: Sequence[int]) -> list[Item]:
        broken: list[tuple[Sample, str]] = []
        images = list(self._decode(chunk, broken)) or list(islice(self._decode(others, broken), 1))
        if not images:
            raise DataError(f"none of {len(broken)} images can be read; the first: {broken[0][1]}")
        items = []
        for number, position in enumerate(positions):
            sample, image, prior = images[number % len(images)]
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(augmentation_seed(self._config.seed, epoch, position))
                tensor, clean, moved = self._transform.with_map(image, prior)
            faults = tuple(broken) if number == 0 else ()
            items.append(Item(sample, tensor, clean, (image.height, image.width), faults, prior=moved))
        return items

    def _decode(self, found: Iterable[Raw], broken: list[tuple[Sample, str]]) -> Iterator[Decoded]:
        """Yield the images that can be decoded, with their maps if there are any; others are added to ``broken``."""
        for sample, content in found:
            try:
                image = decode_image(io.BytesIO(content), sample.path, self._config.data.max_pixels)
                prior = None if self._maps is None else self._maps.read(sample)
            except DataError as error:
                broken.append((sample, str(error)))
                continue
            yield sample, image, prior


class StreamLoader(BatchLoader):
    """Micro-batches of this process from the position set to the end of that epoch, as ``TrainLoader`` has them."""

    def __init__(
        self,
        samples: Sequence[Sample],
        config: Config,
        rank: int,
        world: int,
        on_broken: OnBroken | None = None,
        maps: PriorMaps | None = None,
    ) -> None:
        self._sampler = EpochSampler(len(samples), config, rank, world)
        shards = Shards(samples, config, rank, world)
        loader = DataLoader(
            StreamedBatches(shards, self._sampler, config, maps),
            batch_size=None,
            num_workers=min(config.data.workers, shards.most_workers),
            worker_init_fn=one_thread,
            generator=torch.Generator().manual_seed(config.seed),  # else each iterator draws from the global one
        )
        super().__init__(loader, on_broken)

    def __len__(self) -> int:
        return len(self._sampler)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in a whole epoch."""
        return self._sampler.steps_per_epoch

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Go on at optimiser step ``step`` of epoch ``epoch``, both from 0."""
        self._sampler.set_position(epoch, step)
