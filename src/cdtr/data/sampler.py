"""The order of the training images: a function of seed and epoch alone, cut for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
from torch.utils.data import Sampler

from cdtr.config import Config
from cdtr.errors import ConfigError, DataError

Key: TypeAlias = tuple[int, int, int]  # epoch, position in the epoch, index of the sample

_ORDER, _AUGMENTATION = 1, 2  # keeps the two streams of random numbers apart


def augmentation_seed(seed: int, epoch: int, position: int) -> int:
    """Seed for the random augmentation of the image at a position of an epoch."""
    return _mix(seed, _AUGMENTATION, epoch, position)


def epoch_order(count: int, repeats: int, seed: int, epoch: int) -> list[int]:
    """Indices 0 to count - 1, each ``repeats`` times, in the order of this epoch."""
    generator = torch.Generator().manual_seed(_mix(seed, _ORDER, epoch))
    permutation = torch.randperm(count * repeats, generator=generator)
    order: list[int] = (permutation % count).tolist()
    return order


def _mix(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


class EpochSampler(Sampler[list[Key]]):
    """Micro-batches of keys of one process, from a position in an epoch to its end.

    An epoch is cut into global steps of ``train.batch_size``, a step into ``train.accumulation`` micro-batches, and a
    micro-batch into contiguous parts, one a process: a step holds the same images whatever the number of processes.
    An incomplete last step is dropped. Fewer images than one step make a single step of as many as divide evenly.
    """

    def __init__(self, count: int, config: Config, rank: int, world: int) -> None:
        parts = config.train.accumulation * world
        if config.train.batch_size % parts:
            raise ConfigError(
                f"train.batch_size = {config.train.batch_size} does not divide into train.accumulation = "
                f"{config.train.accumulation} times {world} processes: make it a multiple of {parts}"
            )
        total = count * config.data.repeats
        if total < parts:
            raise DataError(
                f"{total} training images are fewer than train.accumulation = {config.train.accumulation} times "
                f"{world} processes: add images, or lower one of the two"
            )
        self.step_size = min(config.train.batch_size, total // parts * parts)
        self.steps_per_epoch = total // self.step_size if total >= config.train.batch_size else 1
        self.epoch = 0
        self.start_step = 0
        self._count, self._repeats, self._seed = count, config.data.repeats, config.seed
        self._accumulation, self._rank, self._world = config.train.accumulation, rank, world

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Go on at step ``step`` of epoch ``epoch``, both from 0; DataError for a place that is not there."""
        if epoch < 0 or not 0 <= step <= self.steps_per_epoch:
            raise DataError(
                f"no step {step} in epoch {epoch}: expected an epoch from 0 and a step from 0 to "
                f"{self.steps_per_epoch}; has the data or the batch size changed since the run was saved?"
            )
        self.epoch, self.start_step = epoch, step

    def __len__(self) -> int:
        return (self.steps_per_epoch - self.start_step) * self._accumulation

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        order = epoch_order(self._count, self._repeats, self._seed, epoch)
        for part in range(self.start_step * self._accumulation, self.steps_per_epoch * self._accumulation):
            yield [(epoch, position, order[position]) for position in self.positions(part)]

    def positions(self, part: int) -> range:
        """The places in the epoch that micro-batch ``part`` of this process takes."""
        size = self.step_size // (self._accumulation * self._world)
        start = (part * self._world + self._rank) * size
        return range(start, start + size)

    @property
    def accumulation(self) -> int:
        """Micro-batches a step."""
        return self._accumulation
