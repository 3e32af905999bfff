"""The order of the training images: a function of seed and epoch alone, cut for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch.utils.data import Sampler

from cdtr.config import Config
from cdtr.errors import ConfigError, DataError

Key: TypeAlias = tuple[int, int, int]  # epoch, position in the epoch, index of the sample

_ORDER, _AUGMENTATION, _CLASS_ORDER = 1, 2, 4  # keeps the streams of random numbers apart; 3 is cdtr.data.stream's
_UNIT = 256  # an epoch of repeated augmentation is a multiple of it


def augmentation_seed(seed: int, epoch: int, position: int) -> int:
    """Seed for the random augmentation of the image at a position of an epoch."""
    return _mix(seed, _AUGMENTATION, epoch, position)


def draws_per_epoch(count: int, repeats: int) -> int:
    """How many images an epoch draws from ``count`` different ones.

    All of them without repeated augmentation. With it, as DeiT's sampler does, the largest multiple of 256 that is not
    above ``count``, copies included; ``count`` itself below 256, where the released code would draw none.
    """
    return count if repeats == 1 or count < _UNIT else count // _UNIT * _UNIT


def epoch_order(count: int, repeats: int, seed: int, epoch: int) -> list[int]:
    """The indices that an epoch draws, in its order.

    Args:
        count: Of different images; indices go from 0 to count - 1.
        repeats: Copies of an image, in a row. Above 1 it is repeated augmentation (Hoffer et al. 2020) as DeiT has it:
            an epoch sees about ``count`` / ``repeats`` of the images.
        seed: Of the run.
        epoch: From 0.

    Returns:
        ``draws_per_epoch`` indices.
    """
    generator = torch.Generator().manual_seed(_mix(seed, _ORDER, epoch))
    order = torch.randperm(count, generator=generator).repeat_interleave(repeats)
    drawn: list[int] = order[: draws_per_epoch(count, repeats)].tolist()
    return drawn


def balanced_order(labels: Sequence[int], repeats: int, seed: int, epoch: int) -> list[int]:
    """The indices of an epoch that draws equally many images of each class, give or take one.

    Classes take turns, and go on with it in the next epoch. Each class goes through its images in a random order, then
    in another one, so that over the epochs every image of a class is drawn equally often.

    Args:
        labels: By index.
        repeats: Copies of an image, in a row.
        seed: Of the run.
        epoch: From 0.

    Returns:
        ``draws_per_epoch`` indices in a random order, a function of the arguments alone.
    """
    of_class: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        of_class.setdefault(label, []).append(index)
    total, classes = draws_per_epoch(len(labels), repeats), len(of_class)
    different = -(-total // repeats)
    drawn: list[int] = []
    for turn, label in enumerate(sorted(of_class)):
        # Draw n of all since the first epoch is of the class whose turn is n modulo the number of classes.
        start, stop = ((draws - turn - 1) // classes + 1 for draws in (epoch * different, (epoch + 1) * different))
        drawn += [of_class[label][place] for place in _class_places(len(of_class[label]), start, stop, seed, label)]
    generator = torch.Generator().manual_seed(_mix(seed, _ORDER, epoch))
    mixed = torch.randperm(different, generator=generator).repeat_interleave(repeats)[:total].tolist()
    return [drawn[place] for place in mixed]


def paired(order: Sequence[int], labels: Sequence[int]) -> list[int]:
    """Let two images of a class follow each other: each waits until the next one of its class is drawn.

    Args:
        order: The indices of an epoch.
        labels: By index.

    Returns:
        The same indices; those that are alone in their class come last.
    """
    waiting: dict[int, int] = {}
    found: list[int] = []
    for index in order:
        label = labels[index]
        if label in waiting:
            found += [waiting.pop(label), index]
        else:
            waiting[label] = index
    return [*found, *waiting.values()]


def _class_places(size: int, start: int, stop: int, seed: int, label: int) -> list[int]:
    """Draws ``start`` to ``stop`` of a class of ``size`` images, counted from the first epoch."""
    found: list[int] = []
    for lap in range(start // size, -(-stop // size)):
        generator = torch.Generator().manual_seed(_mix(seed, _CLASS_ORDER, label, lap))
        order = torch.randperm(size, generator=generator).tolist()
        found += order[max(start - lap * size, 0) : stop - lap * size]
    return found


def _mix(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]) >> 1


class EpochSampler(Sampler[list[Key]]):
    """Micro-batches of keys of one process, from a position in an epoch to its end.

    An epoch is cut into global steps of ``train.batch_size``, a step into ``train.accumulation`` micro-batches, and a
    micro-batch into parts, one a process: a step holds the same images whatever the number of processes. The parts are
    contiguous; with ``data.repeats`` above 1 they are strided over the step, so that the copies of an image, which
    follow each other, are in one step but in different parts, as in the released code.
    An incomplete last step is dropped. Fewer images than one step make a single step of as many as divide evenly.

    labels: of the images; with ``train.balance: sampling`` an epoch draws equally many of each. Without them, and with
    ``auto`` that was not settled (``cdtr.data.balance``), it draws each image once.
    """

    def __init__(self, count: int, config: Config, rank: int, world: int, labels: Sequence[int] | None = None) -> None:
        parts = config.train.accumulation * world
        if config.train.batch_size % parts:
            raise ConfigError(
                f"train.batch_size = {config.train.batch_size} does not divide into train.accumulation = "
                f"{config.train.accumulation} times {world} processes: make it a multiple of {parts}"
            )
        total = draws_per_epoch(count, config.data.repeats)
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
        self._labels = labels if config.train.balance == "sampling" else None
        self._paired_by = labels if config.data.pairs else None
        if config.data.pairs:
            self._require_whole_pairs(config, parts)

    def _require_whole_pairs(self, config: Config, parts: int) -> None:
        if self._paired_by is None or self._repeats > 1:
            raise ConfigError("data.pairs needs single image files and data.repeats 1: set data.pairs=false")
        if self.step_size // parts % 2:
            raise ConfigError(
                f"data.pairs needs an even number of images in each part of a step, found {self.step_size // parts}: "
                f"set train.batch_size to a multiple of {2 * parts} that is at most the number of training images"
            )

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
        if self._labels is not None:
            order = balanced_order(self._labels, self._repeats, self._seed, epoch)
        else:
            order = epoch_order(self._count, self._repeats, self._seed, epoch)
        if self._paired_by is not None:
            order = paired(order, self._paired_by)
        for part in range(self.start_step * self._accumulation, self.steps_per_epoch * self._accumulation):
            yield [(epoch, position, order[position]) for position in self.positions(part)]

    def positions(self, part: int) -> range:
        """The places in the epoch that micro-batch ``part`` of this process takes."""
        parts = self._accumulation * self._world
        if self._repeats > 1:
            step, of_step = divmod(part * self._world + self._rank, parts)
            return range(step * self.step_size + of_step, (step + 1) * self.step_size, parts)
        size = self.step_size // parts
        start = (part * self._world + self._rank) * size
        return range(start, start + size)

    @property
    def accumulation(self) -> int:
        """Micro-batches a step."""
        return self._accumulation
