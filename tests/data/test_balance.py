"""Uneven classes: when they are balanced, in which order, and with which weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from cdtr.config import Config
from cdtr.data.balance import class_weights, settle_balance
from cdtr.data.sampler import EpochSampler, balanced_order, epoch_order
from cdtr.errors import ConfigError
from cdtr.records import Sample

NAMES = ("good", "crack", "hole")


def samples_of(*counts: int, folder: str = "data") -> list[Sample]:
    return [
        Sample(f"{label}-{number}", Path(folder) / f"{label}-{number}.png", label)
        for label, count in enumerate(counts)
        for number in range(count)
    ]


def settled(balance: str, samples: list[Sample]) -> tuple[str, list[str]]:
    lines: list[str] = []
    config = settle_balance(Config().updated(train={"balance": balance}), samples, NAMES, lines.append)
    return config.train.balance, lines


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((10, 10, 10), "auto"),
        ((30, 10, 11), "auto"),
        ((31, 10, 11), "sampling"),
        ((9,), "auto"),
        ((9, 0, 1), "sampling"),
    ],
    ids=["even", "at the ratio", "above it", "one class", "a class without images"],
)
def test_auto_balances_uneven_classes_alone(counts: tuple[int, ...], expected: str) -> None:
    found, lines = settled("auto", samples_of(*counts))
    assert found == expected
    assert len(lines) == (expected == "sampling")


def test_the_line_names_the_classes_and_the_way_back() -> None:
    _, (line,) = settled("auto", samples_of(71, 20, 4))
    assert "good has 71 training images, hole 4" in line
    assert "set it to none" in line


@pytest.mark.parametrize("asked", ["none", "sampling", "weights"])
def test_what_was_asked_for_stays(asked: str) -> None:
    assert settled(asked, samples_of(71, 20, 4)) == (asked, [])
    assert settled(asked, samples_of(5, 5)) == (asked, [])


def test_tar_shards_are_weighted_as_they_cannot_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "0.tar").touch()
    shards = samples_of(40, 5, folder=str(tmp_path / "0.tar"))
    assert settled("auto", shards)[0] == "weights"
    with pytest.raises(ConfigError, match=r"tar shards are read in a row: use weights"):
        settled("sampling", shards)


def test_weights_give_each_class_the_same_part_and_a_mean_of_one() -> None:
    samples = samples_of(71, 20, 9)
    weights = class_weights(samples, 4)
    assert weights.dtype == torch.float32
    parts = weights[:3] * torch.tensor([71, 20, 9])
    torch.testing.assert_close(parts, torch.full((3,), 100 / 3))
    assert weights[3] == 0, "a class without images"


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("counts", [(71, 20, 9), (5, 5), (1, 300), (7,)], ids=str)
def test_an_epoch_draws_each_class_equally_often(counts: tuple[int, ...], repeats: int) -> None:
    labels = [sample.label for sample in samples_of(*counts)]
    for epoch in (0, 1, 6):
        order = balanced_order(labels, repeats, 5, epoch)
        assert len(order) == len(epoch_order(len(labels), repeats, 5, epoch))
        drawn = Counter(labels[index] for index in order)
        assert max(drawn.values()) - min(drawn.values()) <= 2 * repeats, "one draw, and one that is cut"


def test_over_the_epochs_every_image_of_a_class_is_drawn_equally_often() -> None:
    labels = [sample.label for sample in samples_of(70, 20, 7)]
    drawn = Counter(index for epoch in range(13) for index in balanced_order(labels, 1, 0, epoch))
    of_class = Counter(labels[index] for index in drawn.elements())
    assert sorted(of_class.values()) == [420, 420, 421], "13 epochs of 97 draws, to one"
    for label in range(3):
        times = [drawn[index] for index, found in enumerate(labels) if found == label]
        assert max(times) - min(times) <= 1


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    labels = [0] * 40 + [1] * 8
    assert balanced_order(labels, 1, 3, 2) == balanced_order(labels, 1, 3, 2)
    assert len({tuple(balanced_order(labels, 1, seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_recipe_of_the_order_stays() -> None:
    """Trained runs can only be resumed while it stays."""
    assert balanced_order([0] * 6 + [1] * 2, 1, 5, 1) == [6, 1, 0, 4, 7, 7, 6, 3]


def test_a_sampler_cuts_the_balanced_order_as_any_other() -> None:
    config = Config().updated(seed=5, train={"batch_size": 8, "accumulation": 2, "balance": "sampling"})
    labels = [0] * 40 + [1] * 8
    parts = []
    for rank in range(2):
        sampler = EpochSampler(len(labels), config, rank, 2, labels)
        sampler.set_position(3)
        parts.append([[index for _, _, index in keys] for keys in sampler])
    found = [index for pair in zip(*parts, strict=True) for part in pair for index in part]
    assert found == balanced_order(labels, 1, 5, 3)
    resumed = EpochSampler(len(labels), config, 1, 2, labels)
    resumed.set_position(3, 2)
    assert [[index for _, _, index in keys] for keys in resumed] == parts[1][4:]


@pytest.mark.parametrize("balance", ["auto", "none", "weights"])
def test_other_settings_leave_the_order_as_it_was(balance: str) -> None:
    config = Config().updated(seed=5, train={"batch_size": 8, "balance": balance})
    labels = [0] * 40 + [1] * 8
    sampler = EpochSampler(len(labels), config, 0, 1, labels)
    assert [index for keys in sampler for _, _, index in keys] == epoch_order(48, 1, 5, 0)
