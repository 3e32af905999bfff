"""The order of an epoch: unchanged without repeated augmentation, and the released sampler's with it."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from cdtr.config import Config
from cdtr.data.sampler import EpochSampler, draws_per_epoch, epoch_order, paired
from cdtr.errors import ConfigError
from oracles.repeated_sampler import released_batches


def _config(batch: int, accumulation: int = 1, repeats: int = 3) -> Config:
    return Config().updated(
        seed=5, data={"repeats": repeats}, train={"batch_size": batch, "accumulation": accumulation}
    )


def _batches(count: int, config: Config, rank: int, world: int, epoch: int = 0) -> list[list[int]]:
    sampler = EpochSampler(count, config, rank, world)
    sampler.set_position(epoch)
    return [[index for _, _, index in keys] for keys in sampler]


@pytest.mark.parametrize(("count", "seed", "epoch"), [(21, 5, 0), (300, 0, 7)])
def test_order_without_repeats_is_a_seeded_permutation(count: int, seed: int, epoch: int) -> None:
    """The recipe is written out: trained runs can only be resumed while it stays."""
    mixed = int(np.random.SeedSequence((seed, 1, epoch)).generate_state(1, np.uint64)[0] >> 1)
    permutation = torch.randperm(count, generator=torch.Generator().manual_seed(mixed)).tolist()
    assert epoch_order(count, 1, seed, epoch) == permutation
    config = _config(batch=8, accumulation=2, repeats=1).updated(seed=seed)
    halves = [_batches(count, config, rank, 2, epoch) for rank in range(2)]
    found = [index for first, second in zip(*halves, strict=True) for index in first + second]
    assert found == permutation[: count // 8 * 8]


@pytest.mark.parametrize(
    ("count", "batch", "processes", "repeats"),
    [
        pytest.param(5994, 512, 4, 3, id="cub"),
        pytest.param(1300, 64, 2, 3, id="two-processes"),
        pytest.param(1300, 63, 3, 3, id="three-processes-share-256-unevenly"),
        pytest.param(700, 32, 1, 3, id="one-process"),
        pytest.param(256, 16, 4, 2, id="two-copies"),
        pytest.param(511, 20, 4, 5, id="more-copies-than-processes"),
    ],
)
@pytest.mark.parametrize("by", ["processes", "accumulation", "both"])
def test_repeated_augmentation_is_the_released_samplers(
    count: int, batch: int, processes: int, repeats: int, by: str
) -> None:
    """A released process's batch is that of a process here, or of a micro-batch, or a mixture."""
    world = {"processes": processes, "accumulation": 1, "both": 2 if processes % 2 == 0 else 1}[by]
    config = _config(batch, processes // world, repeats)
    permutation = list(dict.fromkeys(epoch_order(count, repeats, 5, 0)))
    seen = set(permutation)
    permutation += [
        index for index in range(count) if index not in seen
    ]  # of those never drawn, the order is no matter
    expected = released_batches(permutation, repeats, processes, batch // processes)
    parts = [_batches(count, config, rank, world) for rank in range(world)]
    for step in range(len(expected[0])):
        for micro in range(processes // world):
            for rank in range(world):
                found = parts[rank][step * (processes // world) + micro]
                assert found == expected[micro * world + rank][step]
    assert {len(own) for own in parts} == {len(expected[0]) * processes // world}


def test_numbers_of_cub_as_released() -> None:
    config = _config(batch=512, accumulation=4)
    batches = _batches(5994, config, 0, 1)
    steps = [list(chain(*batches[first : first + 4])) for first in range(0, len(batches), 4)]
    assert len(steps) == 11
    assert {len(step) for step in steps} == {512}
    assert all(len(set(step)) in (171, 172) for step in steps)  # an image may reach over the end of a step
    assert len(set(steps[0])) == 171
    assert len(set(chain(*steps))) == 1878
    assert all(len(set(part)) == 128 for part in batches), "the copies of an image are in different parts"


@pytest.mark.parametrize(
    ("count", "repeats", "draws"),
    [(5994, 3, 5888), (1_281_167, 3, 1_281_024), (255, 3, 255), (256, 3, 256), (300, 1, 300), (21, 3, 21)],
    ids=["cub", "ilsvrc", "few", "a-unit", "no-repeats", "very-few"],
)
def test_draws_of_an_epoch(count: int, repeats: int, draws: int) -> None:
    assert draws_per_epoch(count, repeats) == len(epoch_order(count, repeats, 0, 0)) == draws


def test_resumed_epoch_goes_on_with_the_same_parts() -> None:
    config = _config(batch=24, accumulation=2)
    whole = _batches(600, config, 1, 3)
    sampler = EpochSampler(600, config, 1, 3)
    sampler.set_position(0, 5)
    assert [[index for _, _, index in keys] for keys in sampler] == whole[10:]


def test_each_copy_has_a_place_and_so_an_augmentation_of_its_own() -> None:
    keys = [key for rank in range(2) for part in EpochSampler(300, _config(batch=32), rank, 2) for key in part]
    assert len({position for _, position, _ in keys}) == len(keys) == 256


def test_images_of_a_class_follow_each_other_two_by_two() -> None:
    labels = [index % 3 for index in range(20)]
    config = _config(batch=8, repeats=1).updated(data={"pairs": True})
    orders = []
    for epoch in (0, 1):
        sampler = EpochSampler(20, config, 0, 2, labels)
        sampler.set_position(epoch)
        parts = [[index for _, _, index in keys] for keys in sampler]
        assert [len(part) for part in parts] == [4, 4]
        for part in parts:
            assert [labels[index] for index in part[::2]] == [labels[index] for index in part[1::2]]
        orders.append(list(chain(*parts)))
    assert len(set(orders[0])) == 8
    assert orders[0] != orders[1]


def test_pairs_keep_every_image_and_leave_single_ones_to_the_end() -> None:
    assert paired([4, 0, 2, 1, 3, 5], [7, 8, 7, 8, 9, 7]) == [0, 2, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({"train": {"batch_size": 3}}, [0] * 20, "even number of images in each part of a step, found 3: set"),
        ({"data": {"repeats": 3}}, [0] * 20, "needs single image files and data.repeats 1"),
        ({}, None, "needs single image files"),
    ],
    ids=["odd", "repeats", "shards"],
)
def test_where_there_cannot_be_pairs(changes: dict[str, Any], labels: list[int] | None, message: str) -> None:
    config = _config(batch=8, repeats=1).updated(data={"pairs": True}).updated(**changes)
    with pytest.raises(ConfigError, match=message):
        EpochSampler(20, config, 0, 1, labels)
